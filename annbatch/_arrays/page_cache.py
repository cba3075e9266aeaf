"""How much reading waits for a disk, and how much finds in the page cache."""

from __future__ import annotations

import threading

_BLOCK = 512
"""Bytes that ``ru_inblock`` counts in, on every platform that has it."""

_COLD = 0.1
"""Reading is cold where more than this share of what was wanted lately came from a disk."""

_LATELY = 64 << 20
"""Bytes wanted between two looks: a few dozen milliseconds of reading, and more than one array of a window."""

_lock = threading.Lock()
_cold, _wanted, _seen = True, 0, 0  # what a new process wants is on the disk more often than not


def reading_waits_for_it(n_bytes: int) -> bool:
    """Say whether what is read lately comes from a disk rather than from the page cache, as the kernel counts.

    Announcing reads (``posix_fadvise``) lets a cold disk work ahead, but costs a microsecond or two each, which is
    lost when all is cached already.

    Parameters
    ----------
    n_bytes
        That are wanted now.
    """
    global _cold, _wanted, _seen
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return False
    with _lock:
        _wanted += n_bytes
        if _wanted >= _LATELY:
            blocks = getrusage(RUSAGE_SELF).ru_inblock
            _cold = (blocks - _seen) * _BLOCK > _COLD * _wanted
            _wanted, _seen = 0, blocks
        return _cold
