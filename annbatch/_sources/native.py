"""zarr arrays on the local disk, read by the package's own kernels."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptDataError
from .array import Job, split_evenly
from .disk import bytes_from_disk
from .files import ChunkFiles
from .reads import plan_reads

if TYPE_CHECKING:
    from .._plan import Pieces
    from .array import StoredArray
    from .files import ChunkFile
    from .layout import ChunkLayout
    from .reads import Reads

_STRETCH_BYTES = 512 << 10
"""Decoded at once: half of a core's L2 cache (1 MB on recent EPYC), so that the scatter reads what is still there."""

_GAP_BYTES = 4096
"""A ``pread`` of its own costs about as much as copying this many bytes that are not wanted."""

_COLD = 0.1
"""Reads are announced where more than this share of what was read lately came from a disk."""

_ANNOUNCED_TOGETHER = 64 << 10
"""Ranges closer than this are announced as one: fewer calls, and a disk reads on that far anyway."""

_WHAT_FAILED = {
    -1: "could not be read",
    -2: "is shorter than its index says: truncated?",
    -3: "does not hold the chunk that is expected there: damaged",
    -4: "holds a chunk that does not decode: damaged",
    -5: "holds column numbers beyond the matrix: damaged",
}

_local = threading.local()


class NativeArray:
    """A zarr array on the local disk: ``pread``, Blosc or nothing, straight to its place.

    Parameters
    ----------
    layout
        How the array lies on disk.
    other
        Reads the same array where a cast is asked for that kernels do not have (from and to float16, to complex).
    limit
        Values must be below it; an error otherwise. For column numbers, which become addresses.
    """

    def __init__(self, layout: ChunkLayout, *, other: StoredArray, limit: int | None = None) -> None:
        self.shape = layout.shape
        self.dtype = layout.dtype
        self._layout = layout
        self._other = other
        self._limit = limit or 0
        self._files = ChunkFiles(layout)
        self._block: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"layout": self._layout, "other": self._other, "limit": self._limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # made as it was; open files stay with the process

    def describe(self) -> str:
        """Say how the array is read."""
        return f"zarr (native, {'Blosc' if self._layout.blosc else 'uncompressed'})"

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``; see :class:`~annbatch._sources.array.StoredArray`."""
        from .._scatter import kernels_cast

        if out.dtype != self.dtype and not kernels_cast(self.dtype, out.dtype):
            return self._other.jobs(pieces, out, n_jobs=n_jobs)
        pieces = pieces.in_elements(self._layout.item)
        if not len(pieces):
            return []
        block = self._block_elements()
        stretch = max(1, _STRETCH_BYTES // self.dtype.itemsize // block) * block
        gap = max(block, _GAP_BYTES // self.dtype.itemsize) if self._layout.blosc else _GAP_BYTES // self.dtype.itemsize
        reads = plan_reads(pieces, chunk=self._layout.chunk, gap=gap, stretch=stretch)
        located = _Located(self._layout, self._files, reads)
        if bytes_from_disk() > _COLD * located.total:
            located.announce()
        stored, target = self.dtype, out
        if out.dtype == self.dtype and not self._limit:  # copied as bits, by one kernel for all dtypes of a size
            stored = np.dtype(f"u{self.dtype.itemsize}")
            target = out.view(stored)
        parts = split_evenly(reads.stop - reads.start, n_jobs)
        return [partial(self._read, reads, located, pieces, part, stored, target, stretch) for part in parts]

    def _read(
        self,
        reads: Reads,
        located: _Located,
        pieces: Pieces,
        part: slice,
        stored: np.dtype,
        out: np.ndarray,
        stretch: int,
    ) -> int:
        from .._clib import blosc_context
        from .._decode import DONE, read_pieces

        layout, size = self._layout, self.dtype.itemsize
        encoded = _scratch("encoded", located.largest + 64 if layout.blosc else 0)
        decoded = _scratch("decoded", min(stretch, layout.chunk) * size + 256)
        status, number, n_bytes = read_pieces(
            blosc_context() if layout.blosc else 0,
            (located.fd[part], located.offset[part], located.nbytes[part]),
            (reads.chunk[part], reads.start[part], reads.stop[part], reads.piece[part]),
            (pieces.start, pieces.length, pieces.dest),
            layout.chunk,
            layout.blosc,
            np.frombuffer(np.array(layout.fill_value, dtype=self.dtype).tobytes(), dtype=np.uint8),
            encoded,
            decoded,
            decoded.view(stored),
            self._limit,
            out,
        )
        if status != DONE:
            raise self._error(status, int(reads.chunk[part][number]))
        return int(n_bytes)

    def _error(self, status: int, chunk: int) -> CorruptDataError:
        layout = self._layout
        number, within = divmod(chunk, layout.per_file)
        where = f"chunk {chunk}" + (f" (number {within} in its shard)" if layout.sharded else "")
        return CorruptDataError(f"{layout.file(number)} {_WHAT_FAILED[status]}: {where} of array {layout.folder}.")

    def _block_elements(self) -> int:
        """Return the elements of a Blosc block, which is the least that can be decoded, as the first chunk has it."""
        if self._block is None:
            self._block = self._layout.chunk
            if self._layout.blosc:
                file = self._files.get(0)
                header = os.pread(file.fd, 16, int(file.offset[0])) if file.fd >= 0 and file.offset[0] >= 0 else b""
                block_bytes = int.from_bytes(header[8:12], "little")
                self._block = min(self._layout.chunk, max(1, block_bytes // self.dtype.itemsize or self._layout.chunk))
            else:
                self._block = 1
        return self._block


class _Located:
    """Where the chunks of some reads lie; holds their files open."""

    def __init__(self, layout: ChunkLayout, files: ChunkFiles, reads: Reads) -> None:
        number, within = np.divmod(reads.chunk, layout.per_file)
        self.fd = np.empty(len(reads), dtype=np.int64)
        self.offset = np.empty(len(reads), dtype=np.int64)
        self.nbytes = np.empty(len(reads), dtype=np.int64)
        self._held: list[ChunkFile] = []
        self._reads = reads
        self._layout = layout
        cuts = np.flatnonzero(np.diff(number, prepend=-1))  # chunks ascend, so a file's reads lie together
        for a, b in zip(cuts.tolist(), [*cuts[1:].tolist(), len(number)], strict=True):
            file = files.get(int(number[a]))
            self._held.append(file)
            self.fd[a:b] = file.fd
            self.offset[a:b] = file.offset[within[a:b]]
            self.nbytes[a:b] = file.nbytes[within[a:b]]

    @property
    def largest(self) -> int:
        """Bytes of the largest encoded chunk, of those that can be right at all."""
        bound = self._layout.chunk * self._layout.dtype.itemsize
        return min(int(self.nbytes.max(initial=0)), 2 * bound + (1 << 16))

    @property
    def total(self) -> int:
        """Bytes to read, as far as is known before chunks' headers are."""
        return int(self._extents()[1].sum())

    def announce(self) -> None:
        """Tell the kernel what will be read, so that a cold disk works ahead."""
        if not hasattr(os, "posix_fadvise"):
            return
        begin, n_bytes = self._extents()
        there = np.flatnonzero(self.offset >= 0)
        fd, begin, end = self.fd[there], begin[there], (begin + n_bytes)[there]
        apart = np.flatnonzero(
            (begin[1:] > end[:-1] + _ANNOUNCED_TOGETHER) | (begin[1:] < begin[:-1]) | (fd[1:] != fd[:-1])
        )
        first, last = np.append(0, apart + 1), np.append(apart, len(there) - 1)
        for i, j in zip(first.tolist(), last.tolist(), strict=True) if len(there) else ():
            os.posix_fadvise(int(fd[i]), int(begin[i]), int(end[j] - begin[i]), os.POSIX_FADV_WILLNEED)

    def _extents(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where in its file each read begins and how many bytes it is, a whole chunk where it is compressed."""
        if self._layout.blosc:
            return self.offset, self.nbytes
        low = self._reads.start - self._reads.chunk * self._layout.chunk
        size = self._layout.dtype.itemsize
        return self.offset + low * size, (self._reads.stop - self._reads.start) * size


def _scratch(name: str, nbytes: int) -> np.ndarray:
    """Return this thread's scratch memory of at least ``nbytes``, 64-byte aligned."""
    from .._buffers import allocate_aligned

    block: np.ndarray | None = getattr(_local, name, None)
    if block is None or block.nbytes < nbytes:
        block = allocate_aligned(-(-nbytes // 64) * 64)
        setattr(_local, name, block)
    return block
