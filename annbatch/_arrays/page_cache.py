"""Whether reads come from a disk or from the page cache."""

from __future__ import annotations

from .._runtime.fork import fork_safe_lock

_BLOCK = 512
"""Bytes per block of ``ru_inblock``, on every platform that has it."""

_COLD_SHARE = 0.1
"""The cache is cold where more than this share of the bytes requested recently came from a disk."""

_INTERVAL = 64 << 20
"""Bytes requested between two checks: a few dozen milliseconds of reading, and more than one array of a window."""

_lock = fork_safe_lock()
_cold, _requested, _blocks = True, 0, 0  # a new process mostly reads data that is not cached


def is_cold(n_bytes: int) -> bool:
    """Return whether recent reads missed the page cache, as the kernel counts for this process.

    Announcing reads (``posix_fadvise``) lets a cold disk work ahead, but costs 1 to 2 microseconds each, which is
    wasted where everything is cached.

    Parameters
    ----------
    n_bytes
        Bytes about to be requested.
    """
    global _cold, _requested, _blocks
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return False
    with _lock:
        _requested += n_bytes
        if _requested >= _INTERVAL:
            blocks = getrusage(RUSAGE_SELF).ru_inblock
            _cold = (blocks - _blocks) * _BLOCK > _COLD_SHARE * _requested
            _requested, _blocks = 0, blocks
        return _cold
