"""Memory for rows under way: pages of the process's own, used again.

In a virtual machine whose host takes unused memory back, as cloud machines are, touching a page for the first time was
measured at 0.3 to 2 GB/s, of huge pages, which NumPy asks for, as of ordinary ones; at 3 GB/s where the kernel is asked
for a whole range of ordinary ones at once. Memory that is used again costs nothing, anywhere.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from ..._runtime.buffers import BufferPool

_SMALL = 1 << 18  # below it `malloc` reuses memory
_POPULATE_WRITE = 23  # `MADV_POPULATE_WRITE` of Linux 5.14: have pages there before they are touched

_libc = ctypes.CDLL(None)


def pages(n_bytes: int) -> np.ndarray:
    """Return ``(n_bytes,)`` uint8 at the beginning of a page; pages that are never touched take no memory."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # pages that processes could share take half as long again
    return np.frombuffer(mmap.mmap(-1, max(1, n_bytes), flags=private), np.uint8, n_bytes)


def _populate(block: np.ndarray) -> None:
    """Have the pages of a block there, as far as the kernel knows how to; the GIL is free meanwhile."""
    if sys.platform == "linux":
        _libc.madvise(ctypes.c_void_p(block.ctypes.data), ctypes.c_size_t(block.size), _POPULATE_WRITE)


class RowMemory:
    """Lends memory that is used again when nothing refers to it any more. Thread-safe.

    Parameters
    ----------
    window
        Bytes of a CSC matrix that may be transposed at a time.
    """

    def __init__(self, window: int = 256 << 20) -> None:
        self._pool, self.window = BufferPool(pages), window

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return ``(size,)`` undefined values."""
        n_bytes = size * dtype.itemsize
        return np.empty(size, dtype) if n_bytes < _SMALL else self.lend(n_bytes).view(dtype)

    def lend(self, n_bytes: int) -> np.ndarray:
        """Return ``(n_bytes,)`` uint8 at the beginning of a page, contents undefined."""
        block = self._pool.lend(n_bytes)
        _populate(block)
        return block
