"""Memory for windows, reused once nothing refers to it.

Fresh memory costs a page fault per 4 KB, which alone limits a core to about 600,000 cells/s; so blocks are kept. A
block comes back when the last array that views it is gone, as Python counts references: there is no timer, and a batch
that the user keeps never changes.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from .fork import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable

ALIGNMENT = 64
"""Bytes. XLA on the CPU aliases host memory only at this alignment, and copies otherwise."""

_PASSED_OVER = 64
"""Lends after which an idle block is freed: its size is no longer requested."""

_SLACK = 1.25
"""Size of a new block relative to the request, so that it fits the next windows, whose nnz differs by a few percent."""


def allocate_aligned(nbytes: int, *, zeroed: bool = False, alignment: int = ALIGNMENT) -> np.ndarray:
    """Return ``(nbytes,)`` uint8 of ordinary memory at a multiple of ``alignment``, undefined unless ``zeroed``."""
    block = (np.zeros if zeroed else np.empty)(nbytes + alignment, dtype=np.uint8)
    skip = -block.ctypes.data % alignment
    return block[skip : skip + nbytes]


_local = threading.local()


def thread_memory(name: str, nbytes: int) -> np.ndarray:
    """Return this thread's scratch memory of that name, of at least ``nbytes``, 64-byte aligned."""
    block: np.ndarray | None = getattr(_local, name, None)
    if block is None or block.nbytes < nbytes:
        block = allocate_aligned(-(-nbytes // ALIGNMENT) * ALIGNMENT)
        setattr(_local, name, block)
    return block


class BufferPool:
    """Lends blocks of memory, and takes them back when their last view is gone. Thread-safe.

    Parameters
    ----------
    allocate
        Returns a new 64-byte aligned block of the given number of bytes.
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = allocate_aligned) -> None:
        self._allocate = allocate
        self._lock = fork_safe_lock()
        self._idle: list[tuple[int, np.ndarray]] = []  # (number of lends when it came back, block)
        # A weak reference's callback runs wherever the last view dies, perhaps while this very lock is held: it only
        # appends to a deque, which is atomic; the next `lend` takes the block back.
        self._returned: deque[tuple[int, np.ndarray]] = deque()  # (which lend, block)
        self._lent: dict[int, weakref.ref[np.ndarray]] = {}
        self._n_lends = 0
        self._held_bytes = 0
        self.peak_bytes = 0

    def lend(self, nbytes: int) -> np.ndarray:
        """Return ``(nbytes,)`` uint8, 64-byte aligned, contents undefined.

        The block is lent until the returned array and all its views are gone.
        """
        with self._lock:
            self._n_lends += 1
            self._take_back()
            block = self._pick(nbytes)
            # As `root` is made from a memoryview and not from `block`, its views keep `root` alive: it dies with the
            # last of them.
            root = np.frombuffer(block.data, dtype=np.uint8, count=nbytes)
            returned, lend = self._returned, self._n_lends
            self._lent[lend] = weakref.ref(root, lambda _: returned.append((lend, block)))
        return root

    @property
    def lent_bytes(self) -> int:
        """Bytes of the blocks that are lent."""
        with self._lock:
            self._take_back()
            return self._held_bytes - sum(block.nbytes for _, block in self._idle)

    def _take_back(self) -> None:
        while self._returned:
            lend, block = self._returned.popleft()
            del self._lent[lend]
            self._idle.append((self._n_lends, block))
        stale = [block for since, block in self._idle if self._n_lends - since > _PASSED_OVER]
        if stale:
            self._held_bytes -= sum(block.nbytes for block in stale)
            self._idle = [item for item in self._idle if self._n_lends - item[0] <= _PASSED_OVER]

    def _pick(self, nbytes: int) -> np.ndarray:
        """Take the smallest idle block that fits without wasting half of it, or make one."""
        fitting = [item for item in self._idle if nbytes <= item[1].nbytes <= max(2 * nbytes, 4096)]
        if fitting:
            best = min(fitting, key=lambda item: item[1].nbytes)
            self._idle = [item for item in self._idle if item is not best]
            return best[1]
        block = self._allocate(max(int(nbytes * _SLACK), 4096))
        self._held_bytes += block.nbytes
        self.peak_bytes = max(self.peak_bytes, self._held_bytes)
        return block
