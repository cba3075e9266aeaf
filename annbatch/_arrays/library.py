"""Arrays that only a library can read: stretches are read through it, then scattered.

The fallback for every layout that the native reader does not know. It costs a temporary copy of each stretch; a chunk
that lies in one stretch is decoded once.
"""

from __future__ import annotations

import itertools
import pickle
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._format.attributes import COMPLETE_ATTRIBUTE, where
from .._format.codecs import quiet_codecs
from .._plan.ranges import item_size
from ..errors import CorruptDataError, reading
from .array import Job, StoredArray
from .node_folder import NodeFolder

if TYPE_CHECKING:
    import zarr

    from .._plan.pieces import Pieces

_SPAN_BYTES = 4 << 20
"""Bytes of the largest stretch, about: it outweighs a library's overhead per call, and several fit in memory."""


class LibraryArray(StoredArray):
    """Reads pieces that lie in the same or adjacent chunks together, through ``_read``.

    Parameters
    ----------
    shape, dtype
        Shape and dtype of the array.
    chunk
        Items per chunk.
    limit
        Exclusive upper bound of the values, for column numbers: kernels use them as addresses.
    """

    place = "an array"
    """Name of the array in errors."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, *, chunk: int, limit: int | None = None) -> None:
        self.shape = shape
        self.dtype = dtype
        self._limit = limit
        self._chunk = max(1, chunk)
        self._item = item_size(shape)

    @abstractmethod
    def _read(self, start: int, stop: int) -> np.ndarray:
        """Return items ``start:stop``. Called on several threads at once."""

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``, one job per stretch; see :class:`StoredArray`."""
        filled = np.flatnonzero(pieces.length)
        if not len(filled):
            return []
        start, length, dest = pieces.start[filled], pieces.length[filled], pieces.dest[filled]
        ends = np.maximum.accumulate(start + length)
        cuts = self._cuts(start, ends)
        self._count(start[cuts[:-1]], ends[cuts[1:] - 1], length)
        return [
            partial(self._read_and_scatter, start[a:b], length[a:b], dest[a:b], int(ends[b - 1]), out)
            for a, b in itertools.pairwise(cuts)
        ]

    def items_decoded(self) -> int:
        """Return about how many items are decoded for a single one."""
        return min(self._chunk, self.shape[0])

    def _count(self, first: np.ndarray, stop: np.ndarray, length: np.ndarray) -> None:
        """Count the bytes requested, and those of the chunks decoded for them; only the planning thread calls this."""
        size = self._item * self.dtype.itemsize
        decoded = -(-stop // self._chunk) * self._chunk - first // self._chunk * self._chunk
        self.requested_bytes += int(length.sum()) * size
        self.decoded_bytes += int(np.minimum(decoded, self.shape[0]).sum()) * size

    def _cuts(self, start: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Find where one stretch ends and the next begins: at a gap across the end of a chunk, or every few MB."""
        last_chunk = (ends[:-1] - 1) // self._chunk
        gap = (start[1:] > ends[:-1]) & (start[1:] // self._chunk != last_chunk)
        items = max(self._chunk, _SPAN_BYTES // max(1, self._item * self.dtype.itemsize))
        items -= items % self._chunk
        long = start[1:] // items != start[:-1] // items
        return np.concatenate([[0], np.flatnonzero(gap | long) + 1, [len(start)]])

    def _read_and_scatter(
        self, start: np.ndarray, length: np.ndarray, dest: np.ndarray, stop: int, out: np.ndarray
    ) -> int:
        from .._kernels.scatter import scatter_cast

        first = int(start[0])
        read = np.ascontiguousarray(self._read(first, stop))
        if len(read) != stop - first:
            raise CorruptDataError(
                f"Items {first}..{stop} of {self.place} must be stored, got {len(read)} items: damaged."
            )
        if self._limit is not None and not 0 <= read.min() <= read.max() < self._limit:
            raise CorruptDataError(
                f"Column numbers of {self.place} must lie in 0..{self._limit - 1}, got {read.min()}..{read.max()}: "
                "damaged."
            )
        scatter_cast(read.reshape(-1), (start - first) * self._item, length * self._item, dest, out)
        return read.nbytes


def check_complete(array: Any) -> None:
    """Raise if a zarr array that was written completely lacks a chunk, where a library would read its fill value.

    Raises
    ------
    CorruptDataError
        If a chunk is missing.
    """
    if hasattr(array, "store_path") and array.attrs.get(COMPLETE_ATTRIBUTE) and array.store.supports_listing:
        present, needed = array.nchunks_initialized, array.nchunks
        if present < needed:
            raise CorruptDataError(f"{where(array)} must have {needed} chunks, got {present}: damaged.")


class ZarrLibraryArray(LibraryArray):
    """A zarr array of any format, codec and store, read by zarr itself.

    zarrs would read some of them 1.5 times as fast, but inflates a damaged chunk to any size.
    """

    def __init__(self, array: zarr.Array[Any], *, limit: int | None = None) -> None:
        super().__init__(array.shape, array.dtype.newbyteorder("="), chunk=array.chunks[0], limit=limit)
        self._array = array
        self._bounded: zarr.Array[Any] | None = None
        self._folder = NodeFolder.of(array)
        self.place = where(array)

    def __getstate__(self) -> dict[str, Any]:
        array = self._array.async_array
        parts = pickle.dumps(array.metadata), array.store_path, array.config  # the store is shared with other arrays
        return vars(self) | {"_bounded": None, "_array": parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import zarr

        metadata, *parts = state["_array"]
        with quiet_codecs():  # zarr makes the codecs of shards again
            array = zarr.Array(zarr.AsyncArray(pickle.loads(metadata), *parts))
        vars(self).update(state, _array=array)

    def _read(self, start: int, stop: int) -> np.ndarray:
        from .bounded import bounded, check_backed

        with reading(self.place):
            if self._bounded is None:
                check_complete(self._array)
                self._bounded = bounded(self._array)
            check_backed(self._array, stop - start)
            read = np.asarray(self._bounded[start:stop], dtype=self.dtype)
            if self._folder is not None:  # afterwards: missing chunks of an array that is gone would be fill values
                self._folder.check()
            return read

    def check_bytes(self, n_bytes: int) -> None:
        """Raise if hardly any of ``n_bytes`` to read are stored."""
        from .bounded import check_bytes

        check_bytes(self._array, n_bytes)

    def describe(self) -> str:
        """Describe how the array is read."""
        return "zarr"
