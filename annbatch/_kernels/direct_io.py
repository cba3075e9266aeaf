"""Byte ranges of files read around the page cache, many in flight at a time, by the asynchronous I/O of Linux.

A thread that calls ``pread`` has one request in flight, and a disk wants tens of them. Here one thread keeps a queue of
requests full: it submits many per system call, and waits for a part of them. For ranges of 16 KB that took a core 3.5
microseconds each, where as many threads as requests in flight took 8 to 11, at the same rate (2 cores, Intel Xeon,
2026-11-27). Through the page cache it is 4 more per 16 KB, for pages that are found, filled, mapped and copied.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any

import numpy as np
from numba import types

from .intrinsics import load
from .jit import inner, kernel

UNIT = 4096
"""Disks require offsets, lengths and addresses to be multiples of it."""

_LONGEST = 512 << 10
"""Longer ranges are cut, so that a disk works on several parts of them."""

_NUMBERS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
"""The system calls ``io_setup``, ``io_destroy``, ``io_getevents`` and ``io_submit``, which libc does not wrap."""

_EINTR = 4

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

_syscall: Any = types.ExternalFunction("syscall", types.intp(*[types.intp] * 6))
_errno_location: Any = types.ExternalFunction("__errno_location", types.intp())


class Queue:
    """A queue of requests of the operating system, for one thread at a time.

    Parameters
    ----------
    depth
        Requests in flight at most.

    Raises
    ------
    OSError
        If the system has no such queues, allows this process none, or has no more of them.
    """

    def __init__(self, depth: int) -> None:
        numbers = _NUMBERS.get(platform.machine())
        if _libc is None or numbers is None:
            raise OSError(f"No asynchronous I/O is known of {sys.platform} on {platform.machine()}.")
        context = ctypes.c_ulong(0)
        if _libc.syscall(ctypes.c_long(numbers[0]), ctypes.c_long(depth), ctypes.byref(context)) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "io_setup")
        self._numbers, self._context, self._process = numbers, context.value, os.getpid()
        self._events = np.empty((depth, 4), np.int64)

    def read(
        self, fd: np.ndarray, offset: np.ndarray, size: np.ndarray, address: np.ndarray
    ) -> tuple[np.ndarray, int, int]:
        """Read ranges; returns when no request is in flight any more.

        Parameters
        ----------
        fd
            ``(n,)`` descriptors of files, opened with ``O_DIRECT``.
        offset, size, address
            ``(n,)`` where the ranges lie in the files, their bytes, and where they go: multiples of :data:`UNIT`.

        Returns
        -------
        tuple
            ``(n,)`` int64 bytes that were read of each range from its beginning, fewer than asked for where the file
            ends or the disk failed; the number of waits, and the requests in flight at each, summed up: no wait where
            the file system reads one after the other.
        """
        count = np.maximum(1, -(-size // _LONGEST))
        one = np.repeat(np.arange(len(size)), count)
        skip = (np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)) * _LONGEST
        requests = np.zeros((len(one), 8), np.int64)  # struct iocb of linux/aio_abi.h; the operation 0 is a read
        requests[:, 0], requests[:, 2], requests[:, 3] = np.arange(len(one)), fd[one] << 32, address[one] + skip
        requests[:, 4], requests[:, 5] = np.minimum(_LONGEST, size[one] - skip), offset[one] + skip
        pointers = requests.ctypes.data + 64 * np.arange(len(one))
        got = np.zeros(len(one), np.int64)
        _, _, getevents, submit = self._numbers
        waits, in_flight = _read(self._context, submit, getevents, requests, pointers, self._events, got)
        if waits < 0:  # requests may be in flight: this waits for them
            self.close()
            raise OSError(int(-waits), os.strerror(int(-waits)), "io_getevents")
        short = got < requests[:, 4]
        after: np.ndarray = np.cumsum(short) - np.repeat((np.cumsum(short) - short)[np.cumsum(count) - count], count)
        got[after - short > 0] = 0  # of a range that was cut, nothing behind its first gap
        return np.add.reduceat(np.maximum(got, 0), np.cumsum(count) - count), int(waits), int(in_flight)

    def close(self) -> None:
        """Give the queue back, when its requests have ended; in a forked child there is none."""
        context, self._context = self._context, 0
        if context and self._process == os.getpid() and _libc is not None:
            _libc.syscall(ctypes.c_long(self._numbers[1]), ctypes.c_ulong(context))


@kernel
def _read(
    context: int,
    submit: int,
    getevents: int,
    requests: np.ndarray,
    pointers: np.ndarray,
    events: np.ndarray,
    got: np.ndarray,
) -> tuple[int, int]:
    """Send requests and wait for them; return the number of waits, or a negative error, and the sum in flight at each.

    The caller keeps the arrays, which the operating system reads and writes.
    """
    n, depth, sent, done, waits, in_flight = got.size, len(events), 0, 0, 0, 0
    target, first = events.ctypes.data, pointers.ctypes.data
    while done < n:
        room = min(n - sent, depth - (sent - done))
        if room > 0:
            accepted = _syscall(submit, context, room, first + 8 * sent, 0, 0)
            if accepted > 0:
                sent += accepted
            elif sent == done:
                return waits, in_flight  # refused: what remains was not read
        least = 0  # at first, those that have ended already
        while True:
            ended = _syscall(getevents, context, least, depth, target, 0)
            if ended < 0 and _errno() != _EINTR:
                return -_errno(), in_flight
            for i in range(ended):
                got[events[i, 0]] = events[i, 2]
            done += max(ended, 0)
            if least or done == sent:
                break
            least = 1 if sent == n else min(depth // 4, sent - done)
            waits += 1
            in_flight += sent - done
    return waits, in_flight


@inner
def _errno() -> int:
    number: int = load(np.int32, _errno_location())
    return number
