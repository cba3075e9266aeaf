"""One-dimensional arrays of inputs, read by range on threads; bypasses h5py and zarr where that is faster."""

from __future__ import annotations

import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..._arrays.bounded import bounded, check_backed, check_bytes
from ..._arrays.hdf5 import ChunkTable
from ..._arrays.native import NativeArray
from ..._arrays.open import open_array
from ..._runtime.threads import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    import zarr

    Take = Callable[[int, np.ndarray], bool]

_PIECE_BYTES = 1 << 21  # fewer would wait more for the GIL, and more leave a core's cache
_AT_ONCE = 8 * _PIECE_BYTES


def native_array(array: zarr.Array[Any], *, differences: bool = False) -> NativeArray | None:
    """Return the loader's reader of an array on a local disk, if it has one; ``differences`` as in ``open_array``."""
    if array.dtype.kind not in "biuf" or not array.shape:
        return None
    opened = open_array(array, differences=differences)
    return opened if type(opened) is NativeArray else None


class ZarrChunks:
    """Chunks of a zarr array on a local disk, decoded by the kernels that the loader reads with.

    Attributes
    ----------
    length
        Values per chunk.
    """

    def __init__(self, array: NativeArray) -> None:
        self._array, self.length = array, array.layout.chunk

    @classmethod
    def of(cls, array: zarr.Array[Any]) -> ZarrChunks | None:
        """Return the chunks of an array, or None if zarr must read it: in part, if its chunks are large."""
        is_small = array.chunks[0] * array.dtype.itemsize <= _AT_ONCE
        opened = native_array(array, differences=True) if is_small else None
        return None if opened is None else cls(opened)

    def read(self, first: int, last: int) -> np.ndarray:
        """Return the values of chunks ``first:last``."""
        start, stop = first * self.length, min(last * self.length, self._array.shape[0])
        before = np.zeros(1, self._array.dtype)  # of a chunk, whose differences begin with 0
        return self._array.read(np.array([start]), np.array([stop - start]), before=before)[0]


class FlatArray:
    """A one-dimensional array of an input, read by range in pieces."""

    def __init__(self, array: Any) -> None:
        self._array = bounded(array)
        self.size = int(array.shape[0])
        self.dtype = np.dtype(array.dtype).newbyteorder("=")

    @cached_property
    def _chunks(self) -> ChunkTable | ZarrChunks | None:
        """Locations of the chunks, looked up at the first read; None where h5py or zarr must read."""
        return (ChunkTable if isinstance(self._array, h5py.Dataset) else ZarrChunks).of(self._array)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return ``start:stop``, in native byte order."""
        check_backed(self._array, stop - start)
        return np.asarray(self._array[start:stop]).astype(self.dtype, copy=False)

    def check_values(self, n_values: int) -> None:
        """Raise if hardly any of as many values are stored, before memory is taken for them."""
        check_bytes(self._array, n_values * self.dtype.itemsize)

    def each(self, start: int, stop: int, take: Take, pool: Executor) -> None:
        """Call ``take`` with each piece of ``start:stop``: its offset from ``start``, and its values.

        Parameters
        ----------
        take
            Called on several threads at once; must not keep the values. Returns whether to go on.
        pool
            Threads that read and call ``take``.
        """
        if stop <= start:
            return
        if self._chunks is None:
            step = max(1, _AT_ONCE // self.dtype.itemsize)
            for a in range(start, stop, step):
                if not take(a - start, self.read(a, min(a + step, stop))):
                    return
            return
        chunks, length = self._chunks, self._chunks.length
        step = max(1, _PIECE_BYTES // (length * self.dtype.itemsize))
        stopped = threading.Event()

        first, last = start // length, -(-stop // length)
        pieces, n_threads = range(first, last, step), usable_cores()

        def work(some: range) -> None:
            for n in some:
                if stopped.is_set():
                    return
                a, b = max(start, n * length), min(stop, (n + step) * length)
                if not take(a - start, chunks.read(n, min(n + step, last))[a - n * length : b - n * length]):
                    stopped.set()

        # Not a task per piece: a thread that returns to Python often mostly waits for the GIL.
        futures = [pool.submit(work, pieces[i::n_threads]) for i in range(min(n_threads, len(pieces)))]
        try:
            for future in futures:
                future.result()
        finally:
            stopped.set()  # after an error the others need not continue
