"""Collections, where programs for scverse annbatch import them from; prefer :mod:`annbatch` itself."""

from __future__ import annotations

from .collection import DatasetCollection as DatasetCollection
from .collection._runs.write_sharded import write_sharded as write_sharded

V1_ENCODING = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}
"""Attributes by which a collection is known."""

__all__ = ["DatasetCollection", "V1_ENCODING", "write_sharded"]
