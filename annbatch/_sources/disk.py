"""Whether reading waits for a disk, or finds everything in the page cache."""

from __future__ import annotations

import threading

_lock = threading.Lock()
_seen = 0


def disk_was_read() -> bool:
    """Say whether this process has fetched blocks from a disk since the last call.

    The kernel counts them (``ru_inblock`` of getrusage). Announcing reads (``posix_fadvise``) lets a cold disk work
    ahead, but costs more than it gains when everything is cached already.
    """
    global _seen
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return False
    blocks = getrusage(RUSAGE_SELF).ru_inblock
    with _lock:
        before, _seen = _seen, blocks
    return blocks > before
