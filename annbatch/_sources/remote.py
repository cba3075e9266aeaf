"""zarr arrays in an object store, read by the package's own kernels from what requests brought."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._objects.faults import ReplacedObjectError
from .._objects.fetch import ByteRange
from .._objects.ranges import plan_requests
from .._objects.requests import Wanted
from ..errors import CorruptDataError
from .files import ABSENT
from .located import Located
from .native import WHAT_FAILED, NativeArray

if TYPE_CHECKING:
    from .._objects.requests import Request
    from .._objects.store import RemoteStore
    from .._plan import Pieces
    from .array import Job, StoredArray
    from .layout import ChunkLayout
    from .reads import Reads

_JOB_BYTES = 4 << 20
"""About the most decoded bytes of one job, whose encoded bytes are all held while it waits for the last of them."""

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

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``, whose requests are on their way then."""
        decoded = int(pieces.length.sum()) * self.layout.item * self.dtype.itemsize
        return super().jobs(pieces, out, n_jobs=max(n_jobs, decoded // _JOB_BYTES))

    def locate(self, reads: Reads) -> Fetched:
        """Find where reads lie, and have requests made for the bytes."""
        layout = self.layout
        if not layout.sharded:
            return Fetched.whole(self, reads)
        number, within = np.divmod(reads.chunk, layout.per_file)
        shards, shard = np.unique(number, return_inverse=True)
        indexes = self._store.indexes.get(layout, shards.tolist())
        offset = np.empty(len(reads), dtype=np.int64)
        nbytes = np.empty(len(reads), dtype=np.int64)
        for i, index in enumerate(indexes):
            here = shard == i
            offset[here], nbytes[here] = index.offset[within[here]], index.nbytes[within[here]]
        return Fetched.ranges(self, reads, shards, shard, offset, nbytes, [index.tag for index in indexes])

    def error(self, status: int, chunk: int) -> CorruptDataError:
        """Return the error that a kernel's status means, with the object, the chunk and the array."""
        path = str(self.layout.file(chunk // self.layout.per_file))
        self._store.indexes.forget(path)
        return CorruptDataError(f"{self._store.url}/{path} {WHAT_FAILED[status]}: {self.spell(chunk, chunk)}.")

    def spell(self, first: int, last: int) -> str:
        """Name chunks."""
        chunks = f"chunk {first}" if first == last else f"chunks {first}..{last}"
        return f"{chunks} of array {self._store.url}/{self.layout.folder}"

    def request(self, wanted: list[Wanted]) -> list[Request]:
        """Hand requests in."""
        return self._store.requests.submit(wanted)

    def wanted(self, number: int, asked: ByteRange, tag: str | None, nbytes: int, chunks: tuple[int, int]) -> Wanted:
        """Return what a request for part of a chunk file asks for."""
        path = str(self.layout.file(number))
        return Wanted(path, asked, tag, nbytes, lambda: f"{self._store.url}/{path}, {asked} ({self.spell(*chunks)}),")

    def arrived(self, requests: list[Request]) -> list[np.ndarray | None]:
        """Wait for requests; return the bytes of each, None where there is no such object."""
        self._store.requests.hurry(requests)
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
    """Where the chunks of some reads will lie in memory, once their requests are answered.

    Attributes
    ----------
    fd
        ``(n_reads,)`` int64, all ``IN_MEMORY``.
    offset
        ``(n_reads,)`` int64 addresses; ``ABSENT`` for a chunk that was never written. There once :meth:`opened`.
    nbytes
        ``(n_reads,)`` int64.
    """

    def __init__(
        self,
        array: RemoteArray,
        requests: list[Request],
        of: np.ndarray,
        skip: np.ndarray,
        nbytes: np.ndarray,
    ) -> None:
        self._array = array
        self._layout = array.layout
        self._requests = requests
        self._of = of
        self._skip = skip
        self._data: list[np.ndarray | None] = []
        self.fd = np.full(len(of), IN_MEMORY, dtype=np.int64)
        self.offset = np.full(len(of), ABSENT, dtype=np.int64)
        self.nbytes = nbytes

    @classmethod
    def ranges(
        cls,
        array: RemoteArray,
        reads: Reads,
        shards: np.ndarray,
        shard: np.ndarray,
        offset: np.ndarray,
        nbytes: np.ndarray,
        tags: list[str | None],
    ) -> Fetched:
        """Ask for the byte ranges of chunks in shards.

        Parameters
        ----------
        array
            What is read.
        reads
            Stretches of it.
        shards
            ``(n_shards,)`` their numbers.
        shard
            ``(n_reads,)`` which of them a stretch lies in.
        offset, nbytes
            ``(n_reads,)`` where in the shard its chunk lies.
        tags
            Entity tags of the shards.
        """
        from .._decode import NOT_THE_CHUNK

        layout = array.layout
        there = np.flatnonzero(offset >= 0)
        begin, end = offset[there], offset[there] + nbytes[there]
        low = np.zeros(len(there), dtype=np.int64)
        if not layout.blosc:  # a stretch of a plain chunk is a range of its own
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
        wanted = [
            array.wanted(int(shards[file]), ByteRange(a, b), tags[file], b - a, (i, j))
            for file, a, b, i, j in zip(
                *(values.tolist() for values in (plan.file, plan.start, plan.stop, first, last)), strict=True
            )
        ]
        of = np.full(len(reads), -1, dtype=np.int64)
        skip = np.zeros(len(reads), dtype=np.int64)
        of[there], skip[there] = plan.of, begin - low - plan.start[plan.of]
        return cls(array, array.request(wanted), of, skip, nbytes)

    @classmethod
    def whole(cls, array: RemoteArray, reads: Reads) -> Fetched:
        """Ask for whole objects, of one chunk each."""
        layout = array.layout
        chunks, of = np.unique(reads.chunk, return_inverse=True)
        most = layout.chunk * layout.dtype.itemsize
        wanted = [array.wanted(number, ByteRange(), None, most, (number, number)) for number in chunks.tolist()]
        zeros = np.zeros(len(reads), dtype=np.int64)
        return cls(array, array.request(wanted), of.astype(np.int64), zeros, zeros.copy())

    def part(self, part: slice) -> Fetched:
        """Return some of the reads, which hold on to no other's bytes."""
        one = copy(self)
        used, one._of = np.unique(self._of[part], return_inverse=True)
        absent = len(used) > 0 and used[0] < 0
        one._of = one._of.astype(np.int64) - int(absent)
        one._requests = [self._requests[i] for i in used[int(absent) :].tolist()]
        one.fd, one.offset, one.nbytes, one._skip = (
            values[part] for values in (self.fd, self.offset, self.nbytes, self._skip)
        )
        return one

    def opened(self) -> Fetched:
        """Return the same when all bytes are there; raise what their requests raised."""
        self._data = self._array.arrived(self._requests)
        address = np.array([ABSENT if data is None else data.ctypes.data for data in self._data], dtype=np.int64)
        length = np.array([0 if data is None else len(data) for data in self._data], dtype=np.int64)
        there = self._of >= 0
        there[there] = address[self._of[there]] >= 0
        for i, missing in enumerate(address < 0):
            if missing:
                self._check_absent(i)
        self.offset = np.where(there, address[self._of] + self._skip, ABSENT) if len(address) else self.offset
        if not self._layout.sharded:
            self.nbytes = length[self._of]
        return self

    def _check_absent(self, request: int) -> None:
        """Raise where an object is missing that cannot be."""
        if self._layout.sharded or self._layout.complete:
            path = self._requests[request].wanted.path
            raise CorruptDataError(f"{self._requests[request].wanted.what()} must be there, and {path} is missing.")
