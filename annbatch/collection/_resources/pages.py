"""Memory for rows during a conversion: pages that are populated in one call and used again.

On cloud machines, whose hosts reclaim unused memory, first touches of pages were measured at 0.3 to 2 GB/s, ordinary
pages and huge ones (which NumPy requests) alike; at 3 GB/s if the kernel populates a whole range of ordinary pages at
once. Memory that is used again costs nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np

from ..._runtime.buffers import BufferPool

_SMALL = 1 << 18  # below it `malloc` reuses memory
_FEW_PAGES = 1 << 16
_POPULATE_WRITE = 23  # `MADV_POPULATE_WRITE` of Linux 5.14: allocate pages before they are touched

_libc = ctypes.CDLL(None)


def pages(n_bytes: int) -> np.ndarray:
    """Return ``(n_bytes,)`` uint8 at the beginning of a page; pages that are never touched take no memory."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # shared pages take 1.5 times as long
    return np.frombuffer(mmap.mmap(-1, max(1, n_bytes), flags=private), np.uint8, n_bytes)


def populate(values: np.ndarray) -> None:
    """Allocate the pages of contiguous values that are about to be written, where the kernel can; releases the GIL.

    Does nothing for small values, and costs little where pages are allocated already.
    """
    if sys.platform == "linux" and values.nbytes >= _FEW_PAGES:
        start = values.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
        n_bytes = values.ctypes.data + values.nbytes - start
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(n_bytes), _POPULATE_WRITE)


class RowMemory:
    """Lends memory that is used again once nothing refers to it. Thread-safe.

    Parameters
    ----------
    window
        Bytes of a CSC matrix that may be transposed at a time.
    """

    def __init__(self, window: int = 256 << 20) -> None:
        self._pool, self.window = BufferPool(pages), window
        self._populated: dict[int, int] = {}  # bytes, by the address of a block

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return ``(size,)`` undefined values."""
        n_bytes = size * dtype.itemsize
        return np.empty(size, dtype) if n_bytes < _SMALL else self.lend(n_bytes).view(dtype)

    def untouched(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return ``(size,)`` undefined values for threads to :func:`populate`, each the part that it writes."""
        n_bytes = size * dtype.itemsize
        return np.empty(size, dtype) if n_bytes < _SMALL else self._pool.lend(n_bytes).view(dtype)

    def lend(self, n_bytes: int) -> np.ndarray:
        """Return ``(n_bytes,)`` undefined uint8 at the beginning of a page."""
        block = self._pool.lend(n_bytes)
        address = block.ctypes.data
        if self._populated.get(address, 0) < n_bytes:  # a call takes longer than encoding goes on without the GIL
            populate(block)
            self._populated[address] = n_bytes
        return block
