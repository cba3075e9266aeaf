"""Bytes that a thread fetches besides those that its jobs return: of row extents and of annotations."""

from __future__ import annotations

import threading

_local = threading.local()


def count_bytes(n_bytes: int) -> None:
    """Note bytes that the calling thread has fetched."""
    _local.n_bytes = getattr(_local, "n_bytes", 0) + n_bytes


def take_count() -> int:
    """Return what the calling thread has noted since the last call."""
    n_bytes: int = getattr(_local, "n_bytes", 0)
    _local.n_bytes = 0
    return n_bytes
