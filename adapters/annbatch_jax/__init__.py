"""Batches as JAX arrays: ``Loader(to="jax")``.

>>> import annbatch_jax
>>> annbatch_jax.__all__
['CheckpointableIterator', 'JaxAdapter']
"""

from __future__ import annotations

from ._adapter import JaxAdapter as JaxAdapter
from ._checkpoint import CheckpointableIterator as CheckpointableIterator

__all__ = ["CheckpointableIterator", "JaxAdapter"]
