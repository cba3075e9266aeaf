"""Window memory that is used again once nobody refers to it.

Fresh memory costs a page fault per 4 KB, which alone caps a core near 600,000 cells/s; so blocks are kept. A block
comes back when the last array that views it is gone, which Python itself counts: there is no timer, and a batch
that the user keeps stays as it is for ever.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from .batch import ALIGNMENT

if TYPE_CHECKING:
    from collections.abc import Callable

_SLACK = 1.25
"""Room above what a window asks for, so that a block fits the next windows too, whose nnz differs by a few percent."""


def allocate_aligned(nbytes: int) -> np.ndarray:
    """Return ``(nbytes,)`` uint8 of ordinary memory on a 64-byte boundary, contents undefined."""
    block = np.empty(nbytes + ALIGNMENT, dtype=np.uint8)
    skip = -block.ctypes.data % ALIGNMENT
    return block[skip : skip + nbytes]


class BufferPool:
    """Lends blocks of memory and takes them back when the last view is gone. Thread-safe.

    Parameters
    ----------
    allocate
        Makes a new 64-byte aligned block of the given number of bytes.
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = allocate_aligned) -> None:
        self._allocate = allocate
        self._idle: list[np.ndarray] = []
        self._lock = threading.Lock()
        # A weak reference's callback runs wherever the last view dies, perhaps while this very lock is held: it may
        # only append to a deque, which is atomic; the next `lend` sorts it in.
        self._returned: deque[tuple[weakref.ref[np.ndarray], np.ndarray]] = deque()
        self._lent: set[weakref.ref[np.ndarray]] = set()
        self._held_bytes = 0
        self.peak_bytes = 0

    def lend(self, nbytes: int) -> np.ndarray:
        """Return ``(nbytes,)`` uint8, 64-byte aligned, contents undefined.

        The block is lent until every array that views the returned one, itself included, is gone.
        """
        with self._lock:
            self._take_back()
            block = self._pick(nbytes)
            # Over a memoryview the array is not owned by `block`, so that views of it refer to `root`, whose
            # death is then the death of the last of them.
            root = np.frombuffer(memoryview(block), dtype=np.uint8, count=nbytes)
            returned = self._returned
            reference = weakref.ref(root, lambda dead, block=block: returned.append((dead, block)))
            self._lent.add(reference)
        return root

    def _take_back(self) -> None:
        while self._returned:
            reference, block = self._returned.popleft()
            self._lent.discard(reference)
            self._idle.append(block)

    def _pick(self, nbytes: int) -> np.ndarray:
        """Take the smallest idle block that fits without wasting half of it, or make one."""
        fitting = [i for i, block in enumerate(self._idle) if nbytes <= block.nbytes <= max(2 * nbytes, 4096)]
        if fitting:
            return self._idle.pop(min(fitting, key=lambda i: self._idle[i].nbytes))
        # None fits: what lies idle longest is of a size no longer asked for. Dropping as much as is made now keeps the
        # total flat when window sizes change.
        size = max(int(nbytes * _SLACK), 4096)
        dropped = 0
        while self._idle and dropped < size and len(self._idle) > 8:
            gone = self._idle.pop(0).nbytes
            dropped += gone
            self._held_bytes -= gone
        self._held_bytes += size
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)
        return self._allocate(size)
