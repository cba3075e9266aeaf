"""Batches as JAX arrays: ``Loader(to="jax")``.

>>> import annbatch_jax
>>> annbatch_jax.__all__
['JaxAdapter']
"""

from __future__ import annotations

from ._adapter import JaxAdapter as JaxAdapter

__all__ = ["JaxAdapter"]
