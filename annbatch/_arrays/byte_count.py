"""Bytes that a thread fetches outside of jobs: for row extents and annotations."""

from __future__ import annotations

import threading

_local = threading.local()


def count_bytes(n_bytes: int) -> None:
    """Add to the bytes that the calling thread has fetched."""
    _local.n_bytes = getattr(_local, "n_bytes", 0) + n_bytes


def take_count() -> int:
    """Return the bytes that the calling thread has counted since the last call."""
    n_bytes: int = getattr(_local, "n_bytes", 0)
    _local.n_bytes = 0
    return n_bytes
