"""Batches as JAX arrays: ``Loader(to="jax")``.

>>> import annbatch_jax
>>> annbatch_jax.__all__
['CheckpointableIterator', 'JaxAdapter', 'grain_source']
"""

from __future__ import annotations

from ._adapter import JaxAdapter as JaxAdapter
from ._checkpoint import CheckpointableIterator as CheckpointableIterator
from ._grain import grain_source as grain_source

__all__ = ["CheckpointableIterator", "JaxAdapter", "grain_source"]
