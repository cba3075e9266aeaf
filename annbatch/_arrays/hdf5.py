"""HDF5 datasets, read without the HDF5 library where they are uncompressed or gzip-compressed.

HDF5 reads and inflates chunk after chunk under one lock: gzip at 0.35 GB/s, where two threads inflate 1.6 GB/s. Any
other storage (another filter or byte order, chunks of part of a row, a driver other than a plain file) is read by h5py.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from .._format.attributes import where
from .._format.codecs import ChunkCodecs
from .._format.layout import ChunkLayout
from .._kernels.inflate import inflate_chunks
from .._plan.ranges import item_size
from .._runtime.fork import fork_safe_lock
from ..errors import CorruptDataError, reading
from .bounded import bounded, check_backed, check_bytes, naming
from .hdf5_files import ByPath, Descriptor
from .library import LibraryArray

if TYPE_CHECKING:
    from .array import StoredArray


def open_hdf5(dataset: h5py.Dataset, *, limit: int | None) -> StoredArray:
    """Return the fastest reader of a dataset; ``limit`` as for :class:`~annbatch._arrays.library.LibraryArray`."""
    library = H5Array(dataset, limit=limit)
    if not hasattr(os, "pread") or dataset.size == 0:
        return library
    plain = UncompressedChunks.of(dataset)
    if plain is not None:
        from .native import NativeArray

        return NativeArray(plain.layout, fallback=library, limit=limit, files=plain)
    table = ChunkTable.of(dataset)
    return library if table is None else GzipArray(dataset, table, limit=limit)


class H5Array(LibraryArray):
    """An HDF5 dataset, read through h5py by one thread at a time, as HDF5 allows no more."""

    _lock = fork_safe_lock()

    def __init__(self, dataset: h5py.Dataset, *, limit: int | None = None) -> None:
        chunk = dataset.chunks[0] if dataset.chunks else 1
        super().__init__(dataset.shape, dataset.dtype.newbyteorder("="), chunk=chunk, limit=limit)
        self._dataset = dataset
        self._checked = False
        self.place = where(dataset)
        self._by_path = ByPath.of(dataset)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), limit=self._limit), (self._by_path,)

    def _read(self, start: int, stop: int) -> np.ndarray:
        with reading(self.place), self._lock:
            if not self._checked:
                bounded(self._dataset)
                self._checked = True
            check_backed(self._dataset, stop - start)
            try:
                return np.asarray(self._dataset[start:stop], dtype=self.dtype)
            except OSError:
                for first in range(start - start % self._chunk, stop, self._chunk) if self._dataset.chunks else ():
                    with naming(f"at row {first}", self._dataset):  # HDF5 does not tell
                        self._dataset[first : first + self._chunk]
                raise

    def check_bytes(self, n_bytes: int) -> None:
        """Raise if hardly any of ``n_bytes`` to read are stored."""
        check_bytes(self._dataset, n_bytes)

    def describe(self) -> str:
        """Describe how the array is read."""
        return "h5py"


class GzipArray(H5Array):
    """A dataset of gzip chunks of whole rows, inflated on the reading threads."""

    def __init__(self, dataset: h5py.Dataset, table: ChunkTable | None = None, *, limit: int | None = None) -> None:
        super().__init__(dataset, limit=limit)
        table = table or ChunkTable.of(dataset)
        assert table is not None, "as when it was pickled"
        self._table = table

    def _read(self, start: int, stop: int) -> np.ndarray:
        length = self._table.length
        first, last = start // length, -(-stop // length)
        read = self._table.read(first, last)
        return read[start - first * length : stop - first * length]

    def describe(self) -> str:
        """Describe how the array is read."""
        return "HDF5 (gzip)"


class ChunkTable:
    """Where the chunks of a dataset lie in its file: chunks of whole rows, gzip-compressed or uncompressed.

    Attributes
    ----------
    length
        Rows per chunk.
    gzip
        Whether chunks are gzip-compressed.
    offsets, sizes
        ``(n_chunks,)`` int64 positions and sizes in bytes.
    """

    def __init__(self, dataset: h5py.Dataset, offsets: np.ndarray, sizes: np.ndarray, length: int, gzip: bool) -> None:
        self._path, self._name = dataset.file.filename, dataset.name
        self._dtype, self._item = dataset.dtype, dataset.shape[1:]
        self.offsets, self.sizes, self.length, self.gzip = offsets, sizes, length, gzip
        self._file = Descriptor.of(dataset.file)
        # Chunks that do not lie right behind the one before.
        self._breaks = [] if gzip else (np.flatnonzero(np.diff(offsets) != sizes[:-1]) + 1).tolist()
        self._scratch = threading.local()

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> ChunkTable | None:
        """Return the table of a dataset, or None if h5py must read it."""
        plan = dataset.id.get_create_plist()
        filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
        known = filters in ([], [h5py.h5z.FILTER_DEFLATE])
        if not (known and _is_plain(dataset) and dataset.chunks and dataset.chunks[1:] == dataset.shape[1:]):
            return None
        length = dataset.chunks[0]
        n_chunks = -(-dataset.shape[0] // length)
        if dataset.id.get_num_chunks() < n_chunks:  # some were never written; not a table of them all
            return None
        offsets, sizes = np.zeros(n_chunks, np.int64), np.zeros(n_chunks, np.int64)

        def note(info: Any) -> None:
            number = info.chunk_offset[0] // length
            # One chunk whose filter was skipped leaves the whole dataset to h5py.
            offsets[number], sizes[number] = info.byte_offset, -1 if info.filter_mask else info.size

        dataset.id.chunk_iter(note)
        gzip = bool(filters)
        odd = sizes <= 0 if gzip else sizes != length * item_size(dataset.shape) * dataset.dtype.itemsize
        return None if odd.any() else cls(dataset, offsets, sizes, length, gzip)

    def read(self, first: int, last: int) -> np.ndarray:
        """Return the rows of chunks ``first:last``, in memory that this thread's next call reuses.

        Many chunks per call: a thread that returns to Python after each chunk of 78 KB mostly waits for the GIL.
        """
        nbytes = self.length * int(np.prod(self._item, dtype=np.int64)) * self._dtype.itemsize
        scratch: np.ndarray | None = getattr(self._scratch, "bytes", None)
        if scratch is None or len(scratch) < (last - first) * nbytes:
            scratch = self._scratch.bytes = np.empty((last - first) * nbytes, np.uint8)
        out: Any = scratch[: (last - first) * nbytes]
        if self.gzip:
            damaged = inflate_chunks(self._file.fd, self.offsets[first:last], self.sizes[first:last], out)
            if damaged >= 0:
                raise CorruptDataError(f"{self._where(first + damaged)} does not inflate to {nbytes} bytes.")
        else:
            breaks = self._breaks[bisect_right(self._breaks, first) : bisect_left(self._breaks, last)]
            for a, b in pairwise([first, *breaks, last]):
                to = out[(a - first) * nbytes : (b - first) * nbytes]
                if os.preadv(self._file.fd, [to], int(self.offsets[a])) != len(to):
                    raise CorruptDataError(f"{self._where(a)} lies beyond the end of the file.")
        values: np.ndarray = out.view(self._dtype).reshape(-1, *self._item)
        return values

    def _where(self, number: int) -> str:
        return f"Chunk {number} of {self._path}{self._name}"


class UncompressedChunks:
    """Where the values of an uncompressed dataset lie, for the kernels that read uncompressed zarr arrays.

    Attributes
    ----------
    layout
        The dataset as a sequence of chunks in one file; a contiguous dataset is one chunk.
    fd
        File descriptor.
    offset, nbytes
        ``(n_chunks,)`` int64 positions and sizes in bytes.
    """

    def __init__(self, dataset: h5py.Dataset, offset: np.ndarray, length: int) -> None:
        item = item_size(dataset.shape)
        self.layout = H5Layout.of(dataset, length * item, len(offset))
        self.offset = offset
        self.nbytes = np.full(len(offset), length * item * dataset.dtype.itemsize, dtype=np.int64)
        self._file, self._by_path = Descriptor.of(dataset.file), ByPath.of(dataset)
        self.fd = self._file.fd

    @classmethod
    def of(cls, dataset: h5py.Dataset) -> UncompressedChunks | None:
        """Return where the values of a dataset lie, or None if they are encoded."""
        if not _is_plain(dataset):
            return None
        if dataset.chunks is None:
            offset = dataset.id.get_offset()  # None if nothing was written, or if the values lie in the header
            return None if offset is None else cls(dataset, np.array([offset], dtype=np.int64), dataset.shape[0])
        table = ChunkTable.of(dataset)
        return None if table is None or table.gzip else cls(dataset, table.offsets, table.length)

    def __reduce__(self) -> tuple[Any, ...]:
        return UncompressedChunks.of, (self._by_path,)

    def get(self, number: int) -> UncompressedChunks:
        """Return the only file of chunks."""
        return self


@dataclass(frozen=True, slots=True)
class H5Layout(ChunkLayout):
    """Layout of a dataset in an HDF5 file."""

    @classmethod
    def of(cls, dataset: h5py.Dataset, chunk: int, n_chunks: int) -> H5Layout:
        """Return the layout of a dataset of ``n_chunks`` uncompressed chunks of ``chunk`` elements."""
        return cls(
            folder=Path(f"{dataset.file.filename}{dataset.name}"),
            shape=dataset.shape,
            dtype=dataset.dtype,
            chunk=chunk,
            per_file=n_chunks,
            sharded=False,
            index_first=False,
            index_checksum=False,
            codecs=ChunkCodecs(),
            fill_value=0,
            complete=True,
            keys=("", "/"),
        )

    def file(self, number: int) -> PurePath:
        """Return the path that errors name."""
        return self.folder

    def describe(self) -> str:
        """Describe how arrays of this layout are read."""
        return "HDF5 (native, uncompressed)"


def _is_plain(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset holds numbers that lie in its file, and not in a buffer of a writer."""
    file = dataset.file
    lies_in_file = file.driver == "sec2" and file.mode == "r" and not file.userblock_size and not dataset.external
    return bool(dataset.ndim and dataset.dtype.kind in "iuf" and dataset.dtype.isnative and lies_in_file)
