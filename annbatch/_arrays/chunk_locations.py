"""Where the chunks of planned reads lie; their files are opened while they are read."""

from __future__ import annotations

import os
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .._plan.requests import plan_requests
from .._runtime.open_files import most_per_read
from .page_cache import are_cached, missed_recently

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._format.layout import ChunkLayout
    from .read_plan import Reads

_ANNOUNCED_TOGETHER = 16 << 10
"""Ranges closer than this many bytes are announced as one: a disk reads them in the time that one more range takes."""

_ANNOUNCED_AT_ONCE = 128 << 10
"""Bytes per call: of a longer range, Linux reads no more ahead than ``read_ahead_kb`` of the disk, 128 by default."""

_SAMPLE = 32
"""Reads of which the page cache is asked, at 1 to 2 microseconds each."""


class Chunks(Protocol):
    """An open file of chunks; see :class:`~annbatch._arrays.chunk_files.ChunkFile`."""

    fd: int
    offset: np.ndarray
    nbytes: np.ndarray


class Files(Protocol):
    """The chunk files of an array."""

    def get(self, number: int) -> Chunks:
        """Return a file, open."""


class ChunkLocations:
    """Where the chunks of reads lie.

    No file is open at first, as there may be any number of them: :meth:`opened` opens those of a part for a while.

    Attributes
    ----------
    fd, offset, nbytes
        ``(n_reads,)`` int64; see :class:`~annbatch._arrays.chunk_files.ChunkFile`. Valid while :meth:`opened`.
    """

    fd: np.ndarray
    offset: np.ndarray
    nbytes: np.ndarray

    def __init__(self, layout: ChunkLayout, files: Files, reads: Reads) -> None:
        self._layout = layout
        self._files = files
        self._chunk = reads.chunk

    def part(self, part: slice) -> ChunkLocations:
        """Return the locations of some of the reads."""
        one = copy(self)
        one._chunk = self._chunk[part]
        return one

    @contextmanager
    def opened(self) -> Iterator[ChunkLocations]:
        """Return the same locations, open until the end of the block."""
        one, held = copy(self), list[Chunks]()
        number, within = np.divmod(self._chunk, self._layout.per_file)
        one.fd, one.offset, one.nbytes = (np.empty(len(number), dtype=np.int64) for _ in range(3))
        cuts = np.flatnonzero(np.diff(number, prepend=-1))  # chunks ascend, so a file's reads lie together
        for a, b in zip(cuts.tolist(), [*cuts[1:].tolist(), len(number)], strict=True):
            file = self._files.get(int(number[a]))
            held.append(file)
            one.fd[a:b] = file.fd
            one.offset[a:b] = file.offset[within[a:b]]
            one.nbytes[a:b] = file.nbytes[within[a:b]]
        try:
            yield one
        finally:
            held.clear()

    def n_jobs(self, n_jobs: int) -> int:
        """Return a number of jobs to cut the reads into, given the number of threads."""
        return n_jobs

    @property
    def largest(self) -> int:
        """Bytes of the largest encoded chunk, within what an undamaged chunk can have."""
        return min(int(self.nbytes.max(initial=0)), self._layout.most_encoded)

    def are_cold(self, reads: Reads) -> bool:
        """Return whether reads will wait for a disk: whether the page cache lacks some of a sample of them."""
        some = slice(None, None, -(-len(reads) // min(_SAMPLE, most_per_read())) or None)
        few = reads.part(some)
        with self.part(some).opened() as there:
            begin, end = there._encoded_range(few)
            # Anywhere: the kernel reads what it lacks when it is asked, so that a place is cached from then on.
            at = there.offset + begin + (np.random.default_rng().random(len(begin)) * (end - begin)).astype(np.int64)
            stored = (there.fd >= 0) & (there.offset >= 0)
            cached = are_cached(zip(there.fd[stored].tolist(), at[stored].tolist(), strict=True))
        if cached is None:
            return missed_recently(int((reads.stop - reads.start).sum()) * self._layout.dtype.itemsize)
        return not cached

    def announce(self, reads: Reads) -> None:
        """Tell the operating system what will be read, so that a cold disk works ahead.

        That costs 1 to 2 microseconds per range, in vain where everything is cached.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        for some in reads.in_few_files(self._layout.per_file):
            with self.part(some).opened() as there:
                there._announce(reads.part(some))

    def _announce(self, reads: Reads) -> None:
        from .._kernels.fetch import FIRST_BYTES

        low, high = self._encoded_range(reads)
        head = np.minimum(low, FIRST_BYTES)  # kernels look there for the beginnings of blocks
        begin = self.offset[:, None] + np.stack([np.zeros_like(low), low], axis=1)
        end = self.offset[:, None] + np.stack([head, high], axis=1)
        there = (end > begin) & (self.offset >= 0)[:, None]
        fd, begin, end = np.broadcast_to(self.fd[:, None], there.shape)[there], begin[there], end[there]
        plan = plan_requests(fd, begin, end, gap=_ANNOUNCED_TOGETHER)
        for file, start, stop in zip(plan.file.tolist(), plan.start.tolist(), plan.stop.tolist(), strict=True):
            for at in range(start, stop, _ANNOUNCED_AT_ONCE):
                os.posix_fadvise(file, at, min(_ANNOUNCED_AT_ONCE, stop - at), os.POSIX_FADV_WILLNEED)

    def _encoded_range(self, reads: Reads) -> tuple[np.ndarray, np.ndarray]:
        """Return about which bytes of each encoded chunk are read for a stretch of it, as start and stop."""
        layout, nbytes = self._layout, self.nbytes
        chunk_bytes = layout.chunk * layout.dtype.itemsize
        low, high = reads.in_bytes(layout.chunk, layout.dtype.itemsize)
        if layout.codecs.plain:
            return low, high
        block = 0 if layout.codecs.whole else layout.codecs.block_bytes
        if not block:
            return np.zeros_like(nbytes), nbytes
        # Blocks lie in their order, and most are about equally long.
        margin = nbytes >> 6
        begin = low // block * block * nbytes // chunk_bytes - margin
        end = -(-high // block) * block * nbytes // chunk_bytes + margin
        whole = 2 * (high - low) > chunk_bytes  # as kernels fetch them
        return np.where(whole, 0, np.maximum(begin, 0)), np.where(whole, nbytes, np.minimum(end, nbytes))
