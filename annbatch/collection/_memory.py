"""Memory for rows under way: pages of the process's own, used again.

In a virtual machine whose host takes unused memory back, as cloud machines are, touching a page for the first time was
measured at 0.3 to 1.4 GB/s, of huge pages, which NumPy asks for, as of ordinary ones. Memory that is used again costs
nothing, anywhere.
"""

from __future__ import annotations

import mmap

import numpy as np

from .._buffers import BufferPool

_SMALL = 1 << 18  # below it `malloc` has memory at hand


def pages(n_bytes: int) -> np.ndarray:
    """Return ``(n_bytes,)`` uint8 at the beginning of a page; pages that are never touched take no memory."""
    return np.frombuffer(mmap.mmap(-1, max(1, n_bytes)), np.uint8, n_bytes)


class RowMemory:
    """Lends memory that is used again when nothing refers to it any more. Thread-safe.

    Parameters
    ----------
    window
        How many bytes of a matrix without rows may be turned at a time.
    """

    def __init__(self, window: int = 256 << 20) -> None:
        self._pool, self.window = BufferPool(pages), window

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return ``(size,)`` undefined values."""
        n_bytes = size * dtype.itemsize
        return np.empty(size, dtype) if n_bytes < _SMALL else self.lend(n_bytes).view(dtype)

    def lend(self, n_bytes: int) -> np.ndarray:
        """Return ``(n_bytes,)`` uint8 at the beginning of a page, contents undefined."""
        return self._pool.lend(n_bytes)
