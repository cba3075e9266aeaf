"""Measure how well batches are mixed, and choose a loader's settings.

>>> import annbatch.tuning
>>> annbatch.tuning.__all__
['Diversity', 'Suggestion', 'diversity', 'suggest']
"""

from __future__ import annotations

from ._diversity import Diversity as Diversity
from ._diversity import diversity as diversity
from ._suggest import Suggestion as Suggestion
from ._suggest import suggest as suggest

__all__ = ["Diversity", "Suggestion", "diversity", "suggest"]
