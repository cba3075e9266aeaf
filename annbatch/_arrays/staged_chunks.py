"""Encoded chunks that are read around the page cache into memory, ahead of the threads that decode them."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .chunk_locations import ChunkLocations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._format.layout import ChunkLayout
    from .chunk_heads import ChunkHeads
    from .chunk_locations import Files
    from .direct_io import Batch, DirectIO, Ranges, Read
    from .read_plan import Reads

_BATCH_BYTES, _BATCH_READS = 64 << 20, 2048
"""Bytes of decoded values, and number of stretches, that are read together: mostly those of a window.

Smaller batches cost more: those of 8 MB took half as long again. Single rows take 16 KB each in memory, so that more of
them would take more than their window."""

_BATCH_HEADS = 8 << 20
"""Bytes of heads that are looked at together, of which some are long."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """What is in memory of the chunks of some reads.

    Attributes
    ----------
    fields
        ``(n_reads, STAGED_FIELDS - 1)`` int64: all but the descriptor of what :mod:`~annbatch._kernels.fetch` takes.
    memory
        What the addresses point to.
    """

    fields: np.ndarray
    memory: tuple[np.ndarray | Ranges, ...]


class StagedChunks(ChunkLocations):
    """Where the chunks of reads lie once what is needed of them was read: in memory, or in files where that failed.

    Parameters
    ----------
    layout, files, reads
        As for :class:`ChunkLocations`.
    heads
        Heads of the array's chunks, where parts of them are read.
    direct_io
        Reads the files, as soon as few bytes wait to be decoded, and what a thread waits for in any case.

    Attributes
    ----------
    fd
        ``(n_reads,)`` int64: minus the address of what says where the parts of a chunk lie, or -1 without a file.
        Valid while :meth:`opened`.
    """

    def __init__(
        self, layout: ChunkLayout, files: Files, reads: Reads, heads: ChunkHeads | None, direct_io: DirectIO
    ) -> None:
        super().__init__(layout, files, reads)
        self._direct_io = direct_io
        self._row, self._batch = np.empty(len(reads), np.int64), np.empty(len(reads), np.int64)
        self._batches: list[Batch[_Staged]] = []
        most = _BATCH_READS if heads is None else max(1, min(_BATCH_READS, _BATCH_HEADS // heads.nbytes))
        for some in reads.in_few_files(layout.per_file):
            size = (reads.stop - reads.start)[some] * layout.dtype.itemsize
            if layout.codecs.whole:
                size[:] = layout.chunk * layout.dtype.itemsize
            number = np.maximum(np.cumsum(size) // _BATCH_BYTES, np.arange(len(size)) // most)
            cuts = (some.start + np.flatnonzero(np.diff(number, prepend=-1))).tolist()
            for a, b in zip(cuts, [*cuts[1:], some.stop], strict=True):
                self._batch[a:b], self._row[a:b] = len(self._batches), np.arange(b - a)
                few = reads.part(slice(a, b))
                work = partial(_stage, layout, ChunkLocations(layout, files, few), few, heads)
                self._batches.append(direct_io.submit(work))

    def part(self, part: slice) -> StagedChunks:
        """Return the locations of some of the reads, without the memory of others."""
        one = copy(self)
        one._chunk, one._row = self._chunk[part], self._row[part]
        used, one._batch = np.unique(self._batch[part], return_inverse=True)
        one._batches = [self._batches[i] for i in used.tolist()]
        return one

    def n_jobs(self, n_jobs: int) -> int:
        """Return a number of jobs so that each waits for few bytes, as it holds all of them until it ends."""
        return max(n_jobs, len(self._batches))

    @contextmanager
    def opened(self) -> Iterator[StagedChunks]:
        """Wait until what is needed was read."""
        from .._kernels.fetch import STAGED_FIELDS

        staged = np.empty((len(self._chunk), STAGED_FIELDS), np.int64)
        held = [self._direct_io.result(batch) for batch in self._batches]
        for number, batch in enumerate(held):
            here = self._batch == number
            staged[here, 1:] = batch.fields[self._row[here]]
        with super().opened() as one:  # for what could not be read directly, and it compares files with what they were
            assert isinstance(one, StagedChunks)
            staged[:, 0] = one.fd
            address = staged.ctypes.data + staged.strides[0] * np.arange(len(staged))
            one.fd = np.where(one.fd < 0, one.fd, -address)
            yield one


def _stage(layout: ChunkLayout, located: ChunkLocations, reads: Reads, heads: ChunkHeads | None, read: Read) -> _Staged:
    """Read what is needed of the chunks of reads."""
    from .._kernels.fetch import STAGED_FIELDS

    low, high = reads.in_bytes(layout.chunk, layout.dtype.itemsize)
    with located.opened() as there:
        fd, offset, nbytes = there.fd, there.offset, there.nbytes
        stored = (fd >= 0) & (offset >= 0) & (nbytes <= layout.most_encoded)
        begin, end = low, high  # of an uncompressed chunk
        fields, memory = np.zeros((len(reads), STAGED_FIELDS - 1), np.int64), list[np.ndarray]()
        if not layout.codecs.plain:
            begin, end = np.zeros_like(nbytes), nbytes.copy()
        if heads is not None:
            part = np.flatnonzero(stored & (high - low < layout.chunk * layout.dtype.itemsize))
            first, address, memory = _heads(heads, reads.chunk[part], fd[part], offset[part], nbytes[part], read)
            begin[part], end[part] = heads.blocks(first, nbytes[part], low[part], high[part])
            fields[part, 0], fields[part, 1], fields[part, 2] = offset[part], offset[part] + heads.nbytes, address
            fields[part[address == 0], :2] = 0
        there_is = stored & (end <= nbytes)
        begin, end = np.where(there_is, offset + begin, 0), np.where(there_is, offset + end, 0)
        ranges = read(fd, begin, end)
    fields[:, 3:] = np.column_stack([begin, begin + ranges.nbytes, ranges.address])
    return _Staged(fields, (*memory, ranges))


def _heads(
    heads: ChunkHeads, chunk: np.ndarray, fd: np.ndarray, offset: np.ndarray, nbytes: np.ndarray, read: Read
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the heads of chunks, the address of each, and what holds them; those that are not known are read.

    Where that fails, a head is zeros, and its address 0.
    """
    number, within = np.divmod(chunk, heads.per_table)
    found = np.empty((len(chunk), heads.nbytes), np.uint8)
    address = np.empty(len(chunk), np.int64)
    memory = []
    for one in np.unique(number).tolist():
        here = np.flatnonzero(number == one)
        kept, known = heads.table(one)
        new = here[~known[within[here]]]
        new = new[np.append(True, within[new][1:] != within[new][:-1])[: len(new)]]  # chunks ascend
        if len(new):
            ranges = read(fd[new], offset[new], offset[new] + np.minimum(heads.nbytes, nbytes[new]))
            whole = ranges.nbytes == heads.nbytes
            skip = (ranges.address - ranges.memory.ctypes.data)[whole, None] + np.arange(heads.nbytes)
            kept[within[new[whole]]] = ranges.memory[skip]
            known[within[new[whole]]] = True
        found[here] = kept[within[here]]
        address[here] = np.where(known[within[here]], kept.ctypes.data + heads.nbytes * within[here], 0)
        memory.append(kept)
    return found, address, memory
