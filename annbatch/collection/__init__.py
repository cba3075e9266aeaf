"""Building and describing a store: convert, shuffle, append, verify."""

from __future__ import annotations

from .dataset_collection import DatasetCollection as DatasetCollection
from .dataset_collection import write_sharded as write_sharded

__all__ = ["DatasetCollection", "write_sharded"]
