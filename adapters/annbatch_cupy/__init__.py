"""Batches as CuPy arrays: ``Loader(to="cupy")``.

>>> import annbatch_cupy
>>> annbatch_cupy.__all__
['CupyAdapter']
"""

from __future__ import annotations

from ._adapter import CupyAdapter as CupyAdapter

__all__ = ["CupyAdapter"]
