"""How many files a process keeps open: 1,024 by default, 256 on macOS."""

from __future__ import annotations

from .threads import usable_cores

_MOST = 1024
"""Files counted on, where the limit is higher."""


def most_kept_open() -> int:
    """Return the number of files that are kept open for later reads: a quarter of the limit."""
    return _limit() // 4


def most_per_read() -> int:
    """Return the number of files that one job opens per array at a time: a third of the limit, over all threads.

    There are two arrays in a job, values and column numbers, and one job per core.
    """
    return max(1, min(32, _limit() // 3 // (2 * usable_cores())))


def _limit() -> int:
    try:
        from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return _MOST
    soft, _ = getrlimit(RLIMIT_NOFILE)
    return _MOST if soft == RLIM_INFINITY else min(soft, _MOST)
