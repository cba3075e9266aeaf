"""zarr arrays in an object store, read by the package's own kernels from what requests brought."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._format.shard_index import ABSENT
from .._remote.cache import EXTENT_BYTES
from .._remote.coalesce import plan_requests
from .._remote.faults import ReplacedObjectError
from .._remote.fetch import ByteRange
from .._remote.requests import ObjectRange
from ..errors import CorruptDataError
from .chunk_locations import Located
from .native import WHAT_FAILED, NativeArray

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

    from .._format.layout import ChunkLayout
    from .._format.shard_index import ShardIndex
    from .._remote.cache import ChunkCache, Extent
    from .._remote.requests import Request
    from .._remote.store import RemoteStore
    from .array import StoredArray
    from .read_plan import Reads

_JOB_BYTES = 1 << 20
"""About the bytes that one job waits for. Jobs of four times as many left a link of 100 MB/s idle at times, while they
decoded and nothing more could be held: 81 MB/s instead of 93."""

IN_MEMORY = -1
"""Instead of a file descriptor: the offset is an address."""


class RemoteArray(NativeArray):
    """A zarr array in an object store: byte ranges of chunks, many requests at a time, straight to their place.

    Parameters
    ----------
    layout
        How the array lies in the store.
    store
        The store.
    block
        Bytes of a Blosc block, where the metadata tell; 0 otherwise.
    other, limit
        As for :class:`~annbatch._sources.native.NativeArray`.
    """

    def __init__(
        self, layout: ChunkLayout, store: RemoteStore, block: int, *, other: StoredArray, limit: int | None = None
    ) -> None:
        super().__init__(layout, other=other, limit=limit)
        self._store = store
        self._block = min(layout.chunk, block // layout.dtype.itemsize) or (layout.chunk if layout.blosc else 1)
        self._given = (layout, store, block)

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (*self._given, self._other, self._limit)

    def describe(self) -> str:
        """Say how the array is read."""
        return f"zarr (native, {'Blosc' if self.layout.blosc else 'uncompressed'}, object store)"

    def locate(self, reads: Reads) -> Fetched:
        """Find where reads lie, and have requests made for the bytes."""
        layout = self.layout
        if not layout.sharded:
            fetched = Fetched(self, np.zeros(len(reads), dtype=np.int64))
            fetched.ask_whole(reads)
            return fetched
        number, within = np.divmod(reads.chunk, layout.per_file)
        shards, shard = np.unique(number, return_inverse=True)
        indexes = self._store.indexes.get(layout, shards.tolist())
        offset = np.empty(len(reads), dtype=np.int64)
        nbytes = np.empty(len(reads), dtype=np.int64)
        for i, index in enumerate(indexes):
            here = shard == i
            offset[here], nbytes[here] = index.offset[within[here]], index.nbytes[within[here]]
        fetched = Fetched(self, nbytes)
        wanted = np.flatnonzero(offset >= 0)
        if self._store.cache is not None:
            wanted = fetched.look_up(reads, shards, shard, indexes, wanted)
        fetched.ask_ranges(reads, shards, shard, offset, [index.tag for index in indexes], wanted)
        return fetched

    def error(self, status: int, chunk: int) -> CorruptDataError:
        """Return the error that a kernel's status means, with the object, the chunk and the array."""
        from .._kernels.clib import forget_context

        forget_context()
        number, within = divmod(chunk, self.layout.per_file)
        path = str(self.layout.file(number))
        if self.cache is not None and self.layout.sharded:  # another reading may bring what this one did not
            (index,) = self._store.indexes.get(self.layout, [number])
            self.cache.extent(self.name(number), index, within).drop(within)
        self._store.indexes.forget(path)
        return CorruptDataError(f"{self._store.url}/{path} {WHAT_FAILED[status]}: {self.spell(chunk, chunk)}.")

    def spell(self, first: int, last: int) -> str:
        """Name chunks."""
        chunks = f"chunk {first}" if first == last else f"chunks {first}..{last}"
        return f"{chunks} of array {self._store.url}/{self.layout.folder}"

    @property
    def cache(self) -> ChunkCache | None:
        """Where chunks are kept, if they are."""
        return self._store.cache

    def name(self, shard: int) -> str:
        """Return the URL of a chunk file."""
        return f"{self._store.url}/{self.layout.file(shard)}"

    def request(self, wanted: list[ObjectRange]) -> list[Request]:
        """Hand requests in."""
        return self._store.requests.submit(wanted)

    def wanted(
        self, number: int, asked: ByteRange, tag: str | None, nbytes: int, chunks: tuple[int, int]
    ) -> ObjectRange:
        """Return what a request for part of a chunk file asks for."""
        path = str(self.layout.file(number))
        return ObjectRange(
            path, asked, tag, nbytes, lambda: f"{self._store.url}/{path}, {asked} ({self.spell(*chunks)}),"
        )

    def arrived(self, requests: list[Request]) -> list[np.ndarray | None]:
        """Wait for requests; return the bytes of each, None where there is no such object."""
        self._store.requests.prioritize(requests)
        answers = []
        for request in requests:
            try:
                answer = request.result()
            except ReplacedObjectError:
                self._store.indexes.forget(request.wanted.path)
                raise CorruptDataError(
                    f"{self._store.url}/{request.wanted.path} was replaced while it was open: open the store again."
                ) from None
            answers.append(None if answer is None else np.frombuffer(answer.data, dtype=np.uint8))
        return answers


def _made(layout: ChunkLayout, store: RemoteStore, block: int, other: StoredArray, limit: int) -> RemoteArray:
    return RemoteArray(layout, store, block, other=other, limit=limit)


class Fetched(Located):
    """Where the chunks of some reads will lie, once their requests are answered: in memory, or in a cache's files.

    Attributes
    ----------
    fd
        ``(n_reads,)`` int64: ``IN_MEMORY``, or a file of the cache.
    offset
        ``(n_reads,)`` int64: addresses, or offsets in files; ``ABSENT`` for a chunk that was never written. There once
        :meth:`opened`.
    nbytes
        ``(n_reads,)`` int64.
    """

    def __init__(self, array: RemoteArray, nbytes: np.ndarray) -> None:
        n_reads = len(nbytes)
        self._array = array
        self._layout = array.layout
        self._requests: list[Request] = []
        self._of = np.full(n_reads, -1, dtype=np.int64)  # which request a read waits for; -1 for none
        self._skip = np.zeros(n_reads, dtype=np.int64)  # where in its answer the chunk would begin
        self._data: list[np.ndarray | None] = []
        self._keep: list[tuple[Extent, int] | None] = [None] * n_reads  # where a chunk goes that the cache lacks
        self._extents: set[Extent] = set()  # whose files stay open
        self.fd = np.full(n_reads, IN_MEMORY, dtype=np.int64)
        self.offset = np.full(n_reads, ABSENT, dtype=np.int64)
        self.nbytes = nbytes

    def look_up(
        self, reads: Reads, shards: np.ndarray, shard: np.ndarray, indexes: list[ShardIndex], wanted: np.ndarray
    ) -> np.ndarray:
        """Find chunks in the cache; return the reads whose chunks it lacks."""
        cache, per_file = self._array.cache, self._layout.per_file
        assert cache is not None
        missing = []
        within = reads.chunk % per_file
        for i, index in enumerate(indexes):
            here = wanted[shard[wanted] == i]
            if index.tag is None:  # nothing would tell a shard from the one that replaced it
                missing.append(here)
                continue
            name, count = self._array.name(int(shards[i])), index.chunks_within(EXTENT_BYTES)
            number = within[here] // count
            for first in np.unique(number).tolist():
                inside = here[number == first]
                extent = cache.extent(name, index, first * count)
                position = extent.find(within[inside])
                self.fd[inside], self.offset[inside] = np.where(position < 0, IN_MEMORY, extent.fd), position
                self._extents.add(extent)
                lacking = inside[position < 0]
                missing.append(lacking)
                for r in lacking.tolist():
                    self._keep[r] = extent, int(within[r])
        return np.concatenate(missing) if missing else wanted

    def ask_ranges(
        self,
        reads: Reads,
        shards: np.ndarray,
        shard: np.ndarray,
        offset: np.ndarray,
        tags: list[str | None],
        there: np.ndarray,
    ) -> None:
        """Ask for the byte ranges of chunks in shards.

        Parameters
        ----------
        reads
            Stretches of the array.
        shards
            ``(n_shards,)`` their numbers.
        shard
            ``(n_reads,)`` which of them a stretch lies in.
        offset
            ``(n_reads,)`` where in the shard its chunk lies.
        tags
            Entity tags of the shards.
        there
            Which reads to ask for.
        """
        from .._kernels.decode import NOT_THE_CHUNK

        array, layout, nbytes = self._array, self._layout, self.nbytes
        begin, end = offset[there], offset[there] + nbytes[there]
        low = np.zeros(len(there), dtype=np.int64)
        if not layout.blosc and array.cache is None:  # a stretch of a plain chunk is a range of its own
            size, chunk = layout.dtype.itemsize, reads.chunk[there]
            wrong = np.flatnonzero(nbytes[there] != layout.chunk * size)
            if len(wrong):
                raise array.error(NOT_THE_CHUNK, int(chunk[wrong[0]]))
            low = (reads.start[there] - chunk * layout.chunk) * size
            begin, end = begin + low, begin + (reads.stop[there] - chunk * layout.chunk) * size
        plan = plan_requests(shard[there], begin, end)
        first = np.full(len(plan), np.iinfo(np.int64).max)
        last = np.zeros(len(plan), dtype=np.int64)
        np.minimum.at(first, plan.of, reads.chunk[there])
        np.maximum.at(last, plan.of, reads.chunk[there])
        fields = (plan.file, plan.start, plan.stop, first, last)
        self._requests = array.request(
            [
                array.wanted(int(shards[file]), ByteRange(a, b), tags[file], b - a, (i, j))
                for file, a, b, i, j in zip(*(values.tolist() for values in fields), strict=True)
            ]
        )
        self._of[there], self._skip[there] = plan.of, begin - low - plan.start[plan.of]

    def ask_whole(self, reads: Reads) -> None:
        """Ask for whole objects, of one chunk each."""
        most = self._layout.chunk * self._layout.dtype.itemsize
        chunks, of = np.unique(reads.chunk, return_inverse=True)
        self._of = of.astype(np.int64)
        self._requests = self._array.request(
            [self._array.wanted(number, ByteRange(), None, most, (number, number)) for number in chunks.tolist()]
        )

    def n_jobs(self, n_jobs: int) -> int:
        """Cut the reading into more jobs where their requests' answers are held until the last has come."""
        asked = sum(request.wanted.nbytes for request in self._requests)
        return max(n_jobs, asked // _JOB_BYTES)

    def part(self, part: slice) -> Fetched:
        """Return some of the reads, which hold on to no other's bytes."""
        one = copy(self)
        used, of = np.unique(self._of[part], return_inverse=True)
        n_without = int(len(used) > 0 and used[0] < 0)
        one._of = of.astype(np.int64) - n_without
        one._requests = [self._requests[i] for i in used[n_without:].tolist()]
        one._keep = self._keep[part]
        one.fd, one.offset, one.nbytes, one._skip = (
            values[part] for values in (self.fd, self.offset, self.nbytes, self._skip)
        )
        return one

    @contextmanager
    def opened(self) -> Iterator[Fetched]:
        """Give the same when all bytes are there; raise what their requests raised."""
        if self._requests:
            self._await()
        yield self

    def _await(self) -> None:
        self._data = self._array.arrived(self._requests)
        address = np.array([ABSENT if data is None else data.ctypes.data for data in self._data], dtype=np.int64)
        for request, data in zip(self._requests, self._data, strict=True):
            if data is None and (self._layout.sharded or self._layout.complete):
                raise CorruptDataError(f"{request.wanted.what()} must be there, and is missing.")
        there = (self._of >= 0) & (address[self._of] >= 0)
        self.offset = np.where(there, address[self._of] + self._skip, self.offset)
        if not self._layout.sharded:
            length = np.array([0 if data is None else len(data) for data in self._data], dtype=np.int64)
            self.nbytes = length[self._of]
        self._keep_chunks()

    def _keep_chunks(self) -> None:
        """Hand what came to the cache, each chunk once."""
        cache, kept = self._array.cache, -1
        for r, place in enumerate(self._keep):
            data = None if self._of[r] < 0 else self._data[self._of[r]]
            if cache is not None and place is not None and data is not None and place[1] != kept:
                extent, kept = place
                start = int(self._skip[r])
                cache.put(extent, kept, data[start : start + int(self.nbytes[r])])


def remote_array(array: zarr.Array[Any], layout: ChunkLayout, *, other: StoredArray, limit: int | None) -> RemoteArray:
    """Return what reads an array in an object store."""
    from .._remote.store import RemoteStore

    given: Any = array.store
    store = given if isinstance(given, RemoteStore) else RemoteStore(given, read_only=True)
    return RemoteArray(layout, store, _block_bytes(array.metadata.to_dict()), other=other, limit=limit)


def _block_bytes(metadata: dict[str, Any]) -> int:
    """Return the bytes of a Blosc block as the metadata have them; 0 where Blosc chose them."""
    codecs = metadata["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = codecs[0]["configuration"]["codecs"]
    return int(codecs[1]["configuration"].get("blocksize") or 0) if len(codecs) > 1 else 0
