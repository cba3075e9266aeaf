"""zarr arrays in an object store: chunks are requested as byte ranges, and decoded by the package's own kernels."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._format.shard_index import ABSENT
from .._kernels.fetch import IN_MEMORY
from .._plan.requests import plan_requests
from .._remote.cache import EXTENT_BYTES
from .._remote.faults import ReplacedObjectError
from .._remote.fetch import ByteRange
from .._remote.requests import ObjectRange
from ..errors import CorruptDataError
from .chunk_locations import ChunkLocations
from .native import WHAT_FAILED, NativeArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

    from .._format.layout import ChunkLayout
    from .._format.shard_index import ShardIndex
    from .._remote.cache import Extent
    from .._remote.requests import Request
    from .._remote.store import RemoteStore
    from .array import StoredArray
    from .read_plan import Reads

_JOB_BYTES = 1 << 20
"""About the bytes that one job waits for. With jobs of four times as many, a link of 100 MB/s idled at times, as jobs
decoded and no more responses could be held: 81 MB/s instead of 93."""

# obstore's `get_ranges_async` and zarr's `Store.get_ranges` (from 3.4 on) join ranges, too, but by default up to 1 MB
# apart, with 10 requests at a time per object. They bound no bytes under way; obstore checks no entity tag, and returns
# nothing before all have come. In `python -m benchmarks.remote`, with windows of 16,384 rows in chunks of 64, obstore
# took 3.1 times as long (1.4 with our gap), zarr 2.8 times (1.3 with our gap and size, 1.0 with 64 requests as well).
GAP_BYTES = 64 << 10
"""Unneeded bytes that are cheaper to fetch than to skip. Another request costs a client about 0.4 ms of a core, and
what the store bills for it; at 100 MB/s these bytes take 0.6 ms."""

LARGEST_BYTES = 4 << 20
"""Most bytes of joined ranges. At 20 ms to the first byte and 100 MB/s, a request of this size waits for a third of its
time, which others fill; a larger one would only cost more to retry."""


class RemoteArray(NativeArray):
    """A zarr array in an object store, with many requests at a time, decoded straight to its destination.

    Parameters
    ----------
    layout
        Layout of the array in the store.
    store
        The object store.
    fallback, limit
        As for :class:`~annbatch._arrays.native.NativeArray`.
    """

    def __init__(
        self, layout: ChunkLayout, store: RemoteStore, *, fallback: StoredArray, limit: int | None = None
    ) -> None:
        super().__init__(layout, fallback=fallback, limit=limit)
        self.store = store
        self.items_per_fetch = layout.chunk // layout.item
        block = layout.codecs.block_bytes // layout.dtype.itemsize
        self._block = min(layout.chunk, block) or (layout.chunk if layout.codecs.compressor else 1)
        self._given = (layout, store)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(RemoteArray, fallback=self._fallback, limit=self._limit), self._given

    def stored_bytes(self) -> int:
        """Return 0: its bytes are not on the local disk."""
        return 0

    def describe(self) -> str:
        """Describe how the array is read."""
        return f"zarr (native, {self.layout.codecs.describe()}, object store)"

    def locate(self, reads: Reads) -> RemoteChunks:
        """Locate the chunks of reads, and request their bytes."""
        layout = self.layout
        if not layout.sharded:
            chunks = RemoteChunks(self, np.zeros(len(reads), dtype=np.int64))
            chunks.request_objects(reads)
            return chunks
        number, within = np.divmod(reads.chunk, layout.per_file)
        shards, shard = np.unique(number, return_inverse=True)
        indexes = self.store.indexes.get(layout, shards.tolist())
        offset = np.empty(len(reads), dtype=np.int64)
        nbytes = np.empty(len(reads), dtype=np.int64)
        for i, index in enumerate(indexes):
            here = shard == i
            offset[here], nbytes[here] = index.offset[within[here]], index.nbytes[within[here]]
        chunks = RemoteChunks(self, nbytes)
        missing = np.flatnonzero(offset >= 0)
        if self.store.cache is not None:
            missing = chunks.find_in_cache(reads, shards, shard, indexes, missing)
        chunks.request_ranges(reads, shards, shard, offset, [index.tag for index in indexes], missing)
        return chunks

    def error(self, status: int, chunk: int) -> CorruptDataError:
        """Return the error for a kernel's status, with the object, the chunk and the array."""
        from .._kernels.contexts import forget_contexts

        forget_contexts()
        number, within = divmod(chunk, self.layout.per_file)
        path = str(self.layout.file(number))
        if self.store.cache is not None and self.layout.sharded:  # so that the next read requests it again
            (index,) = self.store.indexes.get(self.layout, [number])
            extent = self.store.cache.extent(self.shard_url(number), index, within)
            if extent is not None:
                self.store.cache.drop(extent, within)
        self.store.indexes.forget(path)
        return CorruptDataError(f"{self.shard_url(number)} {WHAT_FAILED[status]}: {self._chunk_names(chunk, chunk)}.")

    def _chunk_names(self, first: int, last: int) -> str:
        chunks = f"chunk {first}" if first == last else f"chunks {first}..{last}"
        return f"{chunks} of array {self.store.url}/{self.layout.folder}"

    def shard_url(self, shard: int) -> str:
        """Return the URL of a chunk file."""
        return f"{self.store.url}/{self.layout.file(shard)}"

    def object_range(
        self, shard: int, part: ByteRange, tag: str | None, nbytes: int, chunks: tuple[int, int]
    ) -> ObjectRange:
        """Return the range to request for part of a chunk file, which holds the first to the last of ``chunks``."""
        return ObjectRange(
            str(self.layout.file(shard)),
            part,
            tag,
            nbytes,
            lambda: f"Reading {part} of {self.shard_url(shard)} ({self._chunk_names(*chunks)})",
            self.layout.most_encoded if part == ByteRange() else None,
        )

    def responses(self, requests: list[Request]) -> list[np.ndarray | None]:
        """Wait for requests; return the bytes of each, None for a missing object."""
        self.store.requests.prioritize(requests)
        responses = []
        for request in requests:
            try:
                response = request.result()
            except ReplacedObjectError:
                self.store.indexes.forget(request.range.path)
                raise CorruptDataError(
                    f"{self.store.url}/{request.range.path} was replaced while it was open: open the store again."
                ) from None
            responses.append(None if response is None else np.frombuffer(response.data, dtype=np.uint8))
        return responses


class RemoteChunks(ChunkLocations):
    """Where the chunks of reads lie once their requests are answered: in memory, or in files of the cache.

    Attributes
    ----------
    fd
        ``(n_reads,)`` int64: ``IN_MEMORY``, or a file descriptor of the cache.
    offset
        ``(n_reads,)`` int64: addresses, or offsets in files; ``ABSENT`` for a chunk that was never written. Valid while
        :meth:`opened`.
    nbytes
        ``(n_reads,)`` int64 bytes of the encoded chunks.
    """

    def __init__(self, array: RemoteArray, nbytes: np.ndarray) -> None:
        n_reads = len(nbytes)
        self._array = array
        self._layout = array.layout
        self._requests: list[Request] = []
        self._request = np.full(n_reads, -1, dtype=np.int64)  # request that a read waits for; -1 for none
        self._skip = np.zeros(n_reads, dtype=np.int64)  # bytes of its response before the chunk would begin
        self._responses: list[np.ndarray | None] = []
        self._to_cache: list[tuple[Extent, int] | None] = [None] * n_reads  # where a chunk goes that the cache lacks
        self._extents: set[Extent] = set()  # their files stay open
        self.fd = np.full(n_reads, IN_MEMORY, dtype=np.int64)
        self.offset = np.full(n_reads, ABSENT, dtype=np.int64)
        self.nbytes = nbytes

    def find_in_cache(
        self, reads: Reads, shards: np.ndarray, shard: np.ndarray, indexes: list[ShardIndex], selection: np.ndarray
    ) -> np.ndarray:
        """Find the chunks of selected reads in the cache; return the reads whose chunks it lacks."""
        cache, per_file = self._array.store.cache, self._layout.per_file
        assert cache is not None
        missing = []
        within = reads.chunk % per_file
        for i, index in enumerate(indexes):
            here = selection[shard[selection] == i]
            if index.tag is None:  # without a tag, a replaced shard would go unnoticed
                missing.append(here)
                continue
            url, count = self._array.shard_url(int(shards[i])), index.chunks_within(EXTENT_BYTES)
            number = within[here] // count
            for first in np.unique(number).tolist():
                inside = here[number == first]
                extent = cache.extent(url, index, first * count)
                if extent is None:
                    missing.append(inside)
                    continue
                position = cache.find(extent, within[inside])
                self.fd[inside], self.offset[inside] = np.where(position < 0, IN_MEMORY, extent.fd), position
                self._extents.add(extent)
                lacking = inside[position < 0]
                missing.append(lacking)
                for r in lacking.tolist():
                    self._to_cache[r] = extent, int(within[r])
        return np.concatenate(missing) if missing else selection

    def request_ranges(
        self,
        reads: Reads,
        shards: np.ndarray,
        shard: np.ndarray,
        offset: np.ndarray,
        tags: list[str | None],
        selection: np.ndarray,
    ) -> None:
        """Request the byte ranges of chunks in shards.

        Parameters
        ----------
        reads
            Stretches of the array.
        shards
            ``(n_shards,)`` numbers of the shards.
        shard
            ``(n_reads,)`` position in ``shards`` of the shard of each stretch.
        offset
            ``(n_reads,)`` offset in the shard of the chunk of each stretch.
        tags
            Entity tags of the shards.
        selection
            Numbers of the reads to request.
        """
        from .._kernels.fetch import NOT_THE_CHUNK

        array, layout, nbytes = self._array, self._layout, self.nbytes
        begin, end = offset[selection], offset[selection] + nbytes[selection]
        low = np.zeros(len(selection), dtype=np.int64)
        if layout.codecs.plain and array.store.cache is None:  # of an uncompressed chunk, only the stretch itself
            size, chunk = layout.dtype.itemsize, reads.chunk[selection]
            wrong = np.flatnonzero(nbytes[selection] != layout.chunk * size)
            if len(wrong):
                raise array.error(NOT_THE_CHUNK, int(chunk[wrong[0]]))
            low = (reads.start[selection] - chunk * layout.chunk) * size
            begin, end = begin + low, begin + (reads.stop[selection] - chunk * layout.chunk) * size
        plan = plan_requests(shard[selection], begin, end, gap=GAP_BYTES, largest=LARGEST_BYTES)
        first = np.full(len(plan), np.iinfo(np.int64).max)
        last = np.zeros(len(plan), dtype=np.int64)
        np.minimum.at(first, plan.request, reads.chunk[selection])
        np.maximum.at(last, plan.request, reads.chunk[selection])
        fields = (plan.file, plan.start, plan.stop, first, last)
        self._requests = array.store.requests.submit(
            [
                array.object_range(int(shards[file]), ByteRange(a, b), tags[file], b - a, (i, j))
                for file, a, b, i, j in zip(*(values.tolist() for values in fields), strict=True)
            ]
        )
        self._request[selection], self._skip[selection] = plan.request, begin - low - plan.start[plan.request]

    def request_objects(self, reads: Reads) -> None:
        """Request whole objects of one chunk each."""
        largest = self._layout.chunk * self._layout.dtype.itemsize
        chunks, request = np.unique(reads.chunk, return_inverse=True)
        self._request = request.astype(np.int64)
        self._requests = self._array.store.requests.submit(
            [self._array.object_range(chunk, ByteRange(), None, largest, (chunk, chunk)) for chunk in chunks.tolist()]
        )

    def n_jobs(self, n_jobs: int) -> int:
        """Return a number of jobs so that each waits for few bytes, as it holds its responses until the last comes."""
        requested = sum(request.range.nbytes for request in self._requests)
        return max(n_jobs, requested // _JOB_BYTES)

    def part(self, part: slice) -> RemoteChunks:
        """Return some of the reads, without the responses of others."""
        one = copy(self)
        used, request = np.unique(self._request[part], return_inverse=True)
        n_without = int(len(used) > 0 and used[0] < 0)
        one._request = request.astype(np.int64) - n_without
        one._requests = [self._requests[i] for i in used[n_without:].tolist()]
        one._to_cache = self._to_cache[part]
        one.fd, one.offset, one.nbytes, one._skip = (
            values[part] for values in (self.fd, self.offset, self.nbytes, self._skip)
        )
        return one

    @contextmanager
    def opened(self) -> Iterator[RemoteChunks]:
        """Wait for the responses; raise what their requests raised."""
        if self._requests:
            self._await()
        yield self

    def _await(self) -> None:
        self._responses = self._array.responses(self._requests)
        address = np.array([ABSENT if data is None else data.ctypes.data for data in self._responses], dtype=np.int64)
        for request, data in zip(self._requests, self._responses, strict=True):
            if data is None and (self._layout.sharded or self._layout.complete):
                raise CorruptDataError(f"{request.range.what()} failed: the object is missing.")
        arrived = (self._request >= 0) & (address[self._request] >= 0)
        self.offset = np.where(arrived, address[self._request] + self._skip, self.offset)
        if not self._layout.sharded:
            length = np.array([0 if data is None else len(data) for data in self._responses], dtype=np.int64)
            self.nbytes = length[self._request]
        self._fill_cache()

    def _fill_cache(self) -> None:
        """Put the chunks that arrived into the cache, each once."""
        cache, latest = self._array.store.cache, -1
        for r, target in enumerate(self._to_cache):
            data = None if self._request[r] < 0 else self._responses[self._request[r]]
            if cache is not None and target is not None and data is not None and target[1] != latest:
                extent, latest = target
                start = int(self._skip[r])
                cache.put(extent, latest, data[start : start + int(self.nbytes[r])])


def remote_array(
    array: zarr.Array[Any], layout: ChunkLayout, *, fallback: StoredArray, limit: int | None
) -> RemoteArray:
    """Return the reader of an array in an object store."""
    from .._remote.store import RemoteStore

    given: Any = array.store
    store = given if isinstance(given, RemoteStore) else RemoteStore(given, read_only=True)
    return RemoteArray(layout, store, fallback=fallback, limit=limit)
