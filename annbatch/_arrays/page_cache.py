"""Whether reads come from a disk or from the page cache."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from .._runtime.fork import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Iterable

_MISSING_SHARE = 0.05
"""Bytes are not cached where more than this share of them is missing."""

_WAITED_NS = 50_000
"""Time after which a byte came from a disk. The kernel starts to read what it lacks, and may be interrupted: then it
finds the byte there after all. One that is cached takes 1 to 2 microseconds."""

_BLOCK = 512
"""Bytes per block of ``ru_inblock``, on every platform that has it."""

_COLD_SHARE = 0.1
"""The cache is cold where more than this share of the bytes requested recently came from a disk."""

_INTERVAL = 64 << 20
"""Bytes requested between two checks: a few dozen milliseconds of reading, and more than one array of a window."""

_lock = fork_safe_lock()
_cold, _requested, _blocks = True, 0, 0  # a new process mostly reads data that is not cached


def are_cached(bytes_of_files: Iterable[tuple[int, int]]) -> bool | None:
    """Return whether the page cache holds bytes of files, as it says when it is asked for them without waiting.

    Parameters
    ----------
    bytes_of_files
        File descriptor and offset of each byte.

    Returns
    -------
    bool or None
        None if the operating system or the file system cannot tell: macOS, file systems in memory, some in networks.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    target, n, missing = bytearray(1), 0, 0
    for fd, offset in bytes_of_files:
        n += 1
        begun = time.perf_counter_ns()
        try:
            os.preadv(fd, [target], offset, os.RWF_NOWAIT)
            missing += time.perf_counter_ns() - begun > _WAITED_NS
        except BlockingIOError:
            missing += 1
        except OSError:
            return None
    return missing <= _MISSING_SHARE * n


def missed_recently(n_bytes: int) -> bool:
    """Return whether recent reads missed the page cache, as the kernel counts for this process.

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
