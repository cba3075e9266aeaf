"""Rows between the passes, on disk where they do not fit in memory.

The first pass writes every row to the bucket of its key: a bucket is a range of keys. The second pass loads one bucket
after the other, sorts it by key, and hands its rows on. The number of buckets does not change the order.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.format import descr_to_dtype, dtype_to_descr

from ..._kernels.checksum import extend_crc32c
from ...errors import CorruptDataError
from .._blocks import DenseRows, SparseRows, Stack
from .._resources.direct_io import NewFile, Ranges
from .._resources.pages import RowMemory, populate
from .._resources.threads import ahead
from .._schema.schema import NAMES
from .first_pass import read_rows
from .in_memory import gather_pieces
from .job import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._blocks import Block, Rows
    from .job import ShuffleJob
    from .order import Order

_READS_AT_ONCE = 4  # one read after the other leaves a disk idle half of the time
_IN_CACHE = 1 << 18  # bytes of an array that stay in a core's cache from one step to the next
_SMALL = 1 << 14  # bytes of an array; smaller ones are appended together


@dataclass(frozen=True, slots=True)
class Buckets:
    """Ranges of keys: bucket ``i`` holds ``bounds[i - 1] <= key < bounds[i]``."""

    bounds: np.ndarray

    @classmethod
    def cut(cls, span: int, n_buckets: int) -> Buckets:
        """Return ``n_buckets`` equal ranges of the keys below ``span``."""
        return cls(np.array([span * i // n_buckets for i in range(1, n_buckets)], np.uint64))

    def __len__(self) -> int:
        return len(self.bounds) + 1

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Return the bucket of each key."""
        return np.searchsorted(self.bounds, keys, side="right")


class Segment(NamedTuple):
    """Adjacent rows of one bucket in a spill file: position, number, CRC-32C of their bytes, bytes of strings."""

    offset: int
    length: int
    n_rows: int
    crc: int
    text: int = 0

    @property
    def loaded(self) -> int:
        """Bytes in memory: the strings are there as such, too."""
        return self.length + self.text


@dataclass(frozen=True, slots=True)
class Part:
    """A spill file: a range of rows, sorted into buckets.

    Attributes
    ----------
    name
        Name of the file.
    segments
        Segments of each bucket.
    counted
        :attr:`Statistics.counted` of the rows.
    """

    name: str
    segments: list[list[Segment]]
    counted: dict[str, Any]

    def room(self, bucket: int) -> int:
        """Return the bytes that :meth:`load` takes for a bucket."""
        return sum(Ranges.room(segment.offset, segment.length) for segment in self.segments[bucket])

    def load(
        self, bucket: int, folder: Path, lend: Callable[[int], np.ndarray], which: Sequence[int] | None = None
    ) -> Iterator[memoryview]:
        """Yield the bytes of a bucket's segments, or of those whose numbers are given, in memory from ``lend``.

        Raises
        ------
        CorruptDataError
            If a segment contradicts its checksum.
        """
        segments = self.segments[bucket]
        with Ranges(folder / self.name) as file:
            for segment in segments if which is None else [segments[number] for number in which]:
                buffer = lend(Ranges.room(segment.offset, segment.length))
                data = file.read(segment.offset, segment.length, buffer)
                if len(data) < segment.length or extend_crc32c(0, data) != segment.crc:
                    raise CorruptDataError(f"{folder / self.name} is damaged: a segment contradicts its checksum.")
                yield data.data


def spill(
    job: ShuffleJob,
    buckets: Buckets,
    folder: Path,
    number: int,
    rows: tuple[int, int],
    block_bytes: int,
    memory: RowMemory,
) -> Part:
    """Read a range of rows and write them to a spill file, by bucket; once it is complete, write its index.

    Replaces what an interrupted run left. Safe to run for different numbers at the same time.
    """
    name = f"part-{number}"
    statistics = Statistics.start(job)
    segments: list[list[Segment]] = [[] for _ in range(len(buckets))]
    file = NewFile(folder / name, checksums=False)  # segments have their own
    for first, block in ahead(read_rows(job, statistics, *rows, block_bytes, memory)):
        numbers = np.arange(first, first + len(block[NAMES]))
        keys = job.order.keys(first, first + len(numbers))
        bucket = buckets.of(keys)
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(len(buckets) + 1))
        moved = Stack([block]).gather(order, memory)
        for i, (a, b) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
            if a < b:
                segment = {key: part.part(a, b) for key, part in moved.items()}
                offset, (crc, text) = file.size, _dump(file, keys[order[a:b]], numbers[order[a:b]], segment)
                segments[i].append(Segment(offset, file.size - offset, b - a, crc, text))
        del block, moved
    file.close(flush=False)
    part = Part(name, segments, statistics.counted)
    fresh = folder / f"{name}.index.new"
    fresh.write_text(json.dumps({"segments": part.segments, "counted": part.counted}))
    fresh.replace(folder / f"{name}.index")
    return part


def spilled(folder: Path, number: int, memory: RowMemory) -> Part | None:
    """Return a part that an earlier run completed; None if there is none, or the disk does not have all of it.

    Spill files are not flushed: after a power failure the disk may have the index, but not what it points to.
    """
    name = f"part-{number}"
    try:
        index = json.loads((folder / f"{name}.index").read_bytes())
        segments = [[Segment(*segment) for segment in bucket] for bucket in index["segments"]]
        part = Part(name, segments, index["counted"])
        for bucket in range(len(segments)):
            for _ in part.load(bucket, folder, memory.lend):
                pass
    except (FileNotFoundError, ValueError, CorruptDataError):
        return None
    return part


def _dump(file: NewFile, keys: np.ndarray, numbers: np.ndarray, block: Block) -> tuple[int, int]:
    """Append rows to a file; return the CRC-32C of their bytes, and how many of these are strings.

    A segment is the length of its header (uint64), the header, and the arrays, each padded to 8 bytes. The header is
    JSON: for each element its path, and dtype, shape and bytes of its arrays. Arrays of strings are JSON themselves.
    Nothing is pickled, as a file on disk could run code, or name classes that have moved since it was written.
    """
    elements = {"": (keys, numbers)} | {path: _arrays(rows) for path, rows in block.items()}
    described: list[tuple[str, list[tuple[Any, tuple[int, ...], int]]]] = []
    buffers: list[np.ndarray] = []
    n_text = 0
    for path, arrays in elements.items():
        described.append((path, []))
        for array in arrays:
            text = json.dumps(array.tolist()).encode() if array.dtype.hasobject else None
            n_text += 0 if text is None else len(text)
            buffers.append(np.frombuffer(array.reshape(-1).view(np.uint8) if text is None else text, np.uint8))
            described[-1][1].append((dtype_to_descr(array.dtype), array.shape, buffers[-1].size))
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    crc, small = 0, len(header).to_bytes(8, "little") + header
    for buffer in buffers:
        padding = bytes(-buffer.size % 8)
        if buffer.size < _SMALL:  # columns of few rows, of which there may be dozens
            small += buffer.tobytes() + padding
            continue
        for part in (np.frombuffer(small, np.uint8), *np.split(buffer, range(_IN_CACHE, buffer.size, _IN_CACHE))):
            crc = extend_crc32c(crc, part)
            file.append(part)
        small = padding
    file.append(small)
    return extend_crc32c(crc, np.frombuffer(small, np.uint8)), n_text


def _arrays(rows: Rows) -> tuple[np.ndarray, ...]:
    return (rows.values,) if isinstance(rows, DenseRows) else (rows.data, rows.indices, rows.indptr)


def _load(data: memoryview) -> tuple[np.ndarray, np.ndarray, Block]:
    """Return keys, numbers and rows of a segment, sharing its memory."""
    start = 8 + int.from_bytes(data[:8], "little")
    elements: dict[str, list[np.ndarray]] = {}
    for path, arrays in json.loads(bytes(data[8:start])):
        elements[path] = []
        for dtype, shape, n_bytes in arrays:
            if dtype == "|O":
                elements[path].append(np.array(json.loads(bytes(data[start : start + n_bytes])), object))
            else:
                elements[path].append(np.ndarray(shape, descr_to_dtype(dtype), data, start))
            start += n_bytes + -n_bytes % 8
    keys, numbers = elements.pop("")
    return keys, numbers, {path: DenseRows(*a) if len(a) == 1 else SparseRows(*a) for path, a in elements.items()}


class OnDisk:
    """All rows in spill files, read back a bucket at a time.

    Parameters
    ----------
    order
        Order of the rows.
    folder, parts
        The spill files and their folder.
    statistics
        Statistics of all rows.
    limit
        Bytes of a bucket that may be loaded whole. Adjacent rows may be a thousand times as long as the others, and
        make their bucket larger than the mean.
    """

    def __init__(self, order: Order, folder: Path, parts: Sequence[Part], statistics: Statistics, limit: int) -> None:
        self._order, self._folder, self._parts, self.statistics = order, folder, parts, statistics
        self._memory, self._limit = RowMemory(), limit
        buckets = [[one for part in parts for one in part.segments[i]] for i in range(len(parts[0].segments))]
        self._edges = np.cumsum([0, *(sum(segment.n_rows for segment in bucket) for bucket in buckets)]).tolist()
        self._nbytes = [sum(segment.loaded for segment in bucket) for bucket in buckets]

    def __reduce__(self) -> Any:
        """Pickle without the memory, which belongs to a process."""
        return OnDisk, (self._order, self._folder, self._parts, self.statistics, self._limit)

    def rows(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the rows at positions ``start:stop`` of the order."""
        for stack, rows in ahead(self._loaded(start, stop)):
            yield from gather_pieces(stack, rows, self._memory, self._limit // 2)
            del stack, rows  # or three buckets would be in memory instead of two

    def _loaded(self, start: int, stop: int) -> Iterator[tuple[Stack, np.ndarray]]:
        for number, (first, last) in enumerate(pairwise(self._edges)):
            a, b = max(start, first) - first, min(stop, last) - first
            if a < b and self._nbytes[number] <= self._limit:
                yield self._bucket(number, a, b)
            elif a < b:
                yield from self._slices(number, a, b)

    def _bucket(self, number: int, start: int, stop: int) -> tuple[Stack, np.ndarray]:
        """Load a bucket; return it, and which of its rows are at positions ``start:stop``."""
        keys, rows, blocks = [], [], []
        edges = np.cumsum([0, *(part.room(number) for part in self._parts)]).tolist()
        # In one piece, which the next bucket but one fits into.
        memory = self._memory.untouched(edges[-1], np.dtype(np.uint8))

        def read(part: Part, start: int) -> list[memoryview]:
            def lend(n_bytes: int) -> np.ndarray:
                nonlocal start
                start += n_bytes
                populate(buffer := memory[start - n_bytes : start])
                return buffer

            return list(part.load(number, self._folder, lend))

        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="annbatch-spilled") as readers:
            for data in chain.from_iterable(readers.map(read, self._parts, edges)):
                key, row, block = _load(data)
                keys.append(key)
                rows.append(row)
                blocks.append(self.statistics.settle(block))
        order = self._order.arrange(np.concatenate(keys), np.concatenate(rows))
        return Stack(blocks), order[start:stop]

    def _slices(self, number: int, start: int, stop: int) -> Iterator[tuple[Stack, np.ndarray]]:
        """Load a bucket that is too large in slices; segments are read again for each slice that has rows of them."""
        keys, rows, sizes, segments = [], [], [], []
        for part in self._parts:
            for i, data in enumerate(part.load(number, self._folder, self._memory.lend)):
                key, row, block = _load(data)
                keys.append(key.copy())  # not a view, which would keep the whole segment in memory
                rows.append(row.copy())
                dense = sum(part.nbytes for part in block.values() if isinstance(part, DenseRows))
                sizes.append(Stack([block]).sparse_row_bytes(np.arange(len(key))) + dense / len(key))
                segments.append((part, i))
        order = self._order.arrange(np.concatenate(keys), np.concatenate(rows))[start:stop]
        edges, ends = np.cumsum([0, *map(len, keys)]), np.cumsum(np.concatenate(sizes)[order])
        while len(order):
            n_rows = max(1, int(np.searchsorted(ends, self._limit, side="right")))
            mine = np.sort(order[:n_rows])
            bounds = np.searchsorted(mine, edges)
            blocks = []
            for (part, i), at, a, b in zip(
                segments, edges.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=False
            ):
                if a < b:
                    for data in part.load(number, self._folder, self._memory.lend, [i]):
                        block = self.statistics.settle(_load(data)[2])
                        blocks.append(Stack([block]).gather(mine[a:b] - at, self._memory))
            yield Stack(blocks), np.searchsorted(mine, order[:n_rows])
            del blocks
            order, ends = order[n_rows:], ends[n_rows:] - ends[n_rows - 1]
