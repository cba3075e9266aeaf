"""How much reading waits for a disk, and how much finds in the page cache."""

from __future__ import annotations

import threading

_BLOCK = 512
"""Bytes that ``ru_inblock`` counts in, on every platform that has it."""

_lock = threading.Lock()
_seen = 0


def bytes_from_disk() -> int:
    """Return how many bytes this process has had fetched from a disk since the last call, as the kernel counts them.

    Announcing reads (``posix_fadvise``) lets a cold disk work ahead, but costs a microsecond or two each, which is
    lost when all is cached already.
    """
    global _seen
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return 0
    blocks = getrusage(RUSAGE_SELF).ru_inblock
    with _lock:
        before, _seen = _seen, blocks
    return (blocks - before) * _BLOCK
