"""Collections: convert, shuffle, add, verify."""

from __future__ import annotations

from ._runs.write_sharded import write_sharded as write_sharded
from .dataset_collection import DatasetCollection as DatasetCollection

__all__ = ["DatasetCollection", "write_sharded"]
