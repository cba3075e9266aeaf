"""Arrays of an HDF5 file read around HDF5: chunks straight from the file, inflated on threads.

HDF5 reads and inflates one chunk after the other under one lock: 0.5 GB/s of gzip where two threads inflate 0.9. Where
a dataset is stored in a way that is not known here (another filter, another byte order, a driver that is no plain
file), h5py reads it.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from isal import isal_zlib

from ..errors import CorruptDataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    Take = Callable[[int, np.ndarray], bool]

_PIECE_BYTES = 1 << 20
_BROKEN: Any = isal_zlib.error  # an exception class, of which isal's types say that it is an instance


class FlatArray:
    """A one-dimensional array of an input, read by range in pieces."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.size = int(array.shape[0])
        self.dtype = np.dtype(array.dtype)

    @cached_property
    def _chunks(self) -> _ChunkTable | None:
        """Where the chunks lie, looked up when the first values are wanted; None where h5py or zarr must read."""
        return _ChunkTable.of(self._array) if isinstance(self._array, h5py.Dataset) else None

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return ``start:stop``."""
        return np.asarray(self._array[start:stop])

    def each(self, start: int, stop: int, take: Take, pool: Executor) -> None:
        """Call ``take`` with each piece of ``start:stop``: its offset from ``start``, and its values.

        Parameters
        ----------
        take
            Called on several threads at once; must not keep the values. It returns whether to go on.
        pool
            The threads.
        """
        if stop <= start:
            return
        if self._chunks is None:
            step = max(1, 16 * _PIECE_BYTES // self.dtype.itemsize)
            for a in range(start, stop, step):
                if not take(a - start, self.read(a, min(a + step, stop))):
                    return
            return
        chunks, length = self._chunks, self._chunks.length
        step = max(1, _PIECE_BYTES // (length * self.dtype.itemsize))
        stopped = threading.Event()

        def work(first: int, last: int) -> None:
            if not stopped.is_set():
                a, b = max(start, first * length), min(stop, last * length)
                if not take(a - start, chunks.read(first, last)[a - first * length : b - first * length]):
                    stopped.set()

        first, last = start // length, -(-stop // length)
        futures = [pool.submit(work, n, min(n + step, last)) for n in range(first, last, step)]
        try:
            for future in futures:
                future.result()
        finally:
            stopped.set()  # after an error the others need not read on


class _ChunkTable:
    """Where the chunks of a one-dimensional dataset lie in its file."""

    def __init__(self, dataset: h5py.Dataset, offsets: np.ndarray, sizes: np.ndarray, length: int, gzip: bool) -> None:
        self._path, self._name, self._gzip = dataset.file.filename, dataset.name, gzip
        self._dtype, self._offsets, self._sizes, self.length = dataset.dtype, offsets, sizes, length
        self._file = os.open(self._path, os.O_RDONLY)
        self._scratch = threading.local()

    def __del__(self) -> None:
        os.close(self._file)

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> _ChunkTable | None:
        """Return the table, or None where h5py must read."""
        plan = dataset.id.get_create_plist()
        filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
        known = filters in ([], [h5py.h5z.FILTER_DEFLATE])
        plain = dataset.ndim == 1 and dataset.dtype.kind in "iuf" and dataset.dtype.isnative
        if not (known and plain and dataset.chunks and dataset.file.driver == "sec2"):
            return None
        (length,) = dataset.chunks
        n_chunks = -(-dataset.shape[0] // length)
        offsets, sizes = np.zeros(n_chunks, np.int64), np.zeros(n_chunks, np.int64)

        def note(info: Any) -> None:
            number = info.chunk_offset[0] // length
            # A chunk whose filter was skipped is left to h5py, with all the others.
            offsets[number], sizes[number] = info.byte_offset, -1 if info.filter_mask else info.size

        dataset.id.chunk_iter(note)
        gzip = bool(filters)
        odd = sizes <= 0 if gzip else sizes != length * dataset.dtype.itemsize
        return None if odd.any() else cls(dataset, offsets, sizes, length, gzip)

    def read(self, first: int, last: int) -> np.ndarray:
        """Return chunks ``first:last`` joined, in memory that this thread's next call uses again.

        Many at once: a thread that comes back to Python after every chunk of 78 KB mostly waits for the others.
        """
        nbytes = self.length * self._dtype.itemsize
        scratch: np.ndarray | None = getattr(self._scratch, "bytes", None)
        if scratch is None or len(scratch) < (last - first) * nbytes:
            scratch = self._scratch.bytes = np.empty((last - first) * nbytes, np.uint8)
        out: Any = scratch[: (last - first) * nbytes]
        if self._gzip:
            for number in range(first, last):
                at = (number - first) * nbytes
                out[at : at + nbytes] = self._inflate(number, nbytes)
        else:
            offsets = self._offsets[first:last]
            breaks = np.flatnonzero(np.diff(offsets) != nbytes) + 1
            for a, b in pairwise([0, *breaks.tolist(), last - first]):
                got = os.preadv(self._file, [out[a * nbytes : b * nbytes]], int(offsets[a]))
                if got != (b - a) * nbytes:
                    raise CorruptDataError(f"{self._where(first + a)} lies beyond the end of the file.")
        values: np.ndarray = out.view(self._dtype)
        return values

    def _inflate(self, number: int, nbytes: int) -> np.ndarray:
        raw = os.pread(self._file, int(self._sizes[number]), int(self._offsets[number]))
        try:
            return np.frombuffer(isal_zlib.decompress(raw, 15, nbytes), np.uint8, nbytes)
        except (_BROKEN, ValueError) as error:
            raise CorruptDataError(f"{self._where(number)} does not inflate: {error}") from error

    def _where(self, number: int) -> str:
        return f"Chunk {number} of {self._path}{self._name}"
