"""Measure how well batches are mixed, choose a loader's settings, and compile what it needs.

>>> import annbatch.tuning
>>> annbatch.tuning.__all__
['Diversity', 'Suggestion', 'Warmup', 'diversity', 'suggest', 'warmup']
"""

from __future__ import annotations

from ._diversity import Diversity as Diversity
from ._diversity import diversity as diversity
from ._suggest import Suggestion as Suggestion
from ._suggest import suggest as suggest
from ._warmup import Warmup as Warmup
from ._warmup import warmup as warmup

__all__ = ["Diversity", "Suggestion", "Warmup", "diversity", "suggest", "warmup"]
