"""Collections: convert, shuffle, add, verify. What converts is imported when it is called, not to read."""

from __future__ import annotations

from .dataset_collection import DatasetCollection as DatasetCollection

__all__ = ["DatasetCollection"]
