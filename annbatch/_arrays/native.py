"""Arrays on the local disk, of zarr or of HDF5 files, read by the package's own kernels."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._kernels.blosc_header import HEADER
from .._runtime.buffers import thread_memory
from ..errors import CorruptDataError
from .array import Job, StoredArray, split_evenly
from .chunk_files import ChunkFiles
from .chunk_heads import ChunkHeads
from .chunk_locations import ChunkLocations
from .read_plan import plan_reads
from .staged_chunks import StagedChunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePath

    from .._format.layout import ChunkLayout
    from .._kernels.decode import StoredChunks
    from .._plan.pieces import Pieces
    from .chunk_locations import Files
    from .node_folder import NodeFolder
    from .read_plan import Reads

    Kernel = Callable[..., tuple[int, int, int]]

_STRETCH_BYTES = 512 << 10
"""Bytes decoded at once: half of a core's L2 cache (1 MB on recent EPYC), so that the scatter finds them there."""

_GAP_BYTES = 4096
"""One more ``pread`` costs about as much as copying this many bytes in vain."""

_SAMPLED_FILES = 64

WHAT_FAILED = {
    -1: "could not be read",
    -2: "is shorter than its index says (truncated?)",
    -3: "does not hold the expected chunk (damaged)",
    -4: "holds a chunk that does not decode (damaged)",
    -5: "holds column numbers beyond the matrix (damaged)",
    -6: "holds a chunk that does not match its checksum (damaged)",
}


class NativeArray(StoredArray):
    """An array on the local disk, read with ``pread`` and decoded straight to its destination.

    Parameters
    ----------
    layout
        Layout of the array on disk.
    fallback
        Reader of the same array for casts that kernels do not have (from and to float16, to complex).
    limit
        Exclusive upper bound of the values, for column numbers: kernels use them as addresses.
    files
        Files of chunks, if not those that the layout names.
    folder
        The array's folder, where it was opened in another process.

    """

    def __init__(
        self,
        layout: ChunkLayout,
        *,
        fallback: StoredArray,
        limit: int | None = None,
        files: Files | None = None,
        folder: NodeFolder | None = None,
    ) -> None:
        self.shape = layout.shape
        self.dtype = layout.dtype
        self.layout = layout
        self._fallback = fallback
        self._limit = -1 if limit is None else limit
        self._given_files = files
        self._files: Files = ChunkFiles(layout, folder) if files is None else files
        self._block: int | None = None
        self._heads: ChunkHeads | None = None
        self._fill = np.frombuffer(np.array(layout.fill_value, dtype=layout.dtype).tobytes(), dtype=np.uint8)

    def __getstate__(self) -> dict[str, Any]:
        folder = self._files.folder if isinstance(self._files, ChunkFiles) else None
        state = {"layout": self.layout, "fallback": self._fallback, "limit": self._limit, "files": self._given_files}
        return state | {"folder": folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # open files stay with their process

    def describe(self) -> str:
        """Describe how the array is read."""
        return self.layout.describe()

    def check_bytes(self, n_bytes: int) -> None:
        """Raise if hardly any of ``n_bytes`` to read are stored."""
        self._fallback.check_bytes(n_bytes)

    def items_decoded(self) -> int:
        """Return about how many items are decoded for a single one."""
        elements = self.layout.chunk if self.layout.codecs.whole else self._block_elements()
        return min(max(1, elements // self.layout.item), self.shape[0])

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``; see :class:`StoredArray`."""
        from .._kernels.copy import copy_address
        from .._kernels.decode import read_pieces
        from .._kernels.scatter import kernels_cast

        size, as_bytes = out.dtype.itemsize, out.view(np.uint8)
        if out.dtype == self.dtype:
            copier, items = copy_address(as_bytes.dtype, as_bytes.dtype), size
        elif kernels_cast(self.dtype, out.dtype):
            copier, items = copy_address(self.dtype, out.dtype), 1
        else:
            return self._fallback.jobs(pieces, out, n_jobs=n_jobs)
        elements = pieces.in_elements(self.layout.item)
        return self.kernel_jobs(read_pieces, elements, as_bytes.dtype, copier, items, size, as_bytes, n_jobs=n_jobs)

    def kernel_jobs(
        self, kernel: Kernel, pieces: Pieces, stored: np.dtype, *arguments: np.ndarray | int, n_jobs: int
    ) -> list[Job]:
        """Return the work of running a kernel on the stretches that hold pieces.

        Parameters
        ----------
        kernel
            Takes this array, stretches and pieces as :func:`~annbatch._kernels.decode.read_pieces` does, then
            ``arguments``.
        pieces
            Pieces in elements, none empty.
        stored
            Dtype by which the kernel knows the values; see :meth:`kernel_input`.
        arguments
            Further arguments of the kernel.
        n_jobs
            Number of threads that share the work.
        """
        if not len(pieces):
            return []
        gap, stretch = self.tuning()
        reads = plan_reads(pieces, chunk=self.layout.chunk, gap=gap, stretch=stretch)
        self.count(pieces, reads)
        located = self.locate(reads)
        parts = split_evenly(reads.stop - reads.start, located.n_jobs(n_jobs))
        return [
            partial(self._run, kernel, reads.part(part), pieces, located.part(part), stored, *arguments)
            for part in parts
        ]

    def tuning(self) -> tuple[int, int]:
        """Return how many elements are cheaper to decode in vain than to skip, and how many to decode at once."""
        if self.layout.codecs.whole:  # a chunk is decoded once, and none between two pieces
            return self.layout.chunk - 1, self.layout.chunk
        block, size = self._block_elements(), self.dtype.itemsize
        gap = max(block if self.layout.codecs.compressor else 0, _GAP_BYTES // size)
        if self.layout.codecs.differences:  # a stretch begins with a row or a chunk, before which the value is known
            return gap, self.layout.chunk
        return gap, min(self.layout.chunk, max(1, _STRETCH_BYTES // size // block) * block)

    def count(self, pieces: Pieces, reads: Reads) -> None:
        """Count the bytes of pieces, and those of the chunks decoded for them, where chunks are decoded as a whole."""
        if self.layout.codecs.sequential:
            size = self.dtype.itemsize
            self.requested_bytes += int(pieces.length.sum()) * size
            self.decoded_bytes += len(reads) * min(self.layout.chunk, self.layout.size) * size

    def locate(self, reads: Reads) -> ChunkLocations:
        """Locate the chunks of reads, and announce the reads to a cold disk."""
        located = ChunkLocations(self.layout, self._files, reads)
        if not located.are_cold(reads):
            return located
        direct_io = self.direct_io
        if direct_io is not None and direct_io.start():
            return StagedChunks(self.layout, self._files, reads, self._known_heads(), direct_io)
        located.announce(reads)
        return located

    def _known_heads(self) -> ChunkHeads | None:
        if self._heads is None and self.layout.codecs.compressor == "blosc" and not self.layout.codecs.whole:
            self._heads = ChunkHeads(self.layout, self._block_elements() * self.dtype.itemsize)
        return self._heads

    def stored_bytes(self) -> int:
        """Return the size of the array's files, of many of them as a sample tells."""
        if self._given_files is not None:
            return int(self._given_files.get(0).nbytes.sum())
        n_files = -(-self.layout.size // (self.layout.chunk * self.layout.per_file))
        sample = np.unique(np.linspace(0, n_files - 1, _SAMPLED_FILES, dtype=np.int64)).tolist()
        sizes = [_file_size(self.layout.file(number)) for number in sample]
        return sum(sizes) * n_files // len(sizes)

    def kernel_input(
        self, reads: Reads, pieces: Pieces, located: ChunkLocations, *, stored: np.dtype, scratch: str
    ) -> StoredChunks:
        """Return what kernels need to read this array on the calling thread.

        Parameters
        ----------
        reads, pieces, located
            The stretches, the pieces in them, and where their chunks lie, opened.
        stored
            Dtype by which kernels know the values: the array's, or uint8 where they need only their address.
        scratch
            Name of the thread's memory to decode into: two arrays that are read together need two.
        """
        from .._kernels.chunk_readers import ChunkDecoder, reader_address, rearranger_address
        from .._kernels.contexts import NUMBERS, context
        from .._kernels.decode import StoredChunks, stretch_address, within_address
        from .._kernels.differences import add_up_address

        layout, size, limit = self.layout, self.dtype.itemsize, self._limit
        codecs = layout.codecs
        codec = NUMBERS[codecs.compressor]
        longest = layout.chunk if codecs.whole else int((reads.stop - reads.start).max(initial=1))
        decoded = thread_memory(scratch, longest * size + 1024)  # Blosc decodes up to four items of 255 bytes more
        room = 0 if codecs.plain else -(-(located.largest + 64) // 64) * 64
        encoded = thread_memory("encoded", room + (decoded.nbytes if codecs.transposed else 0))
        reader, rearranged = reader_address(codec, whole=codecs.whole), codecs.big_endian or codecs.transposed
        decoder = ChunkDecoder(
            stretch=stretch_address(),
            reader=rearranger_address() if rearranged else reader,
            as_stored=reader,
            context=context(codec),
            checksum=int(codecs.checksum),
            big_endian=int(codecs.big_endian),
            transposed=layout.chunk // layout.item if codecs.transposed else 0,
            size=size,
            chunk_bytes=layout.chunk * size,
            encoded=encoded.ctypes.data,
            room=room,
            stored=encoded.ctypes.data + room,
            decoded=decoded.ctypes.data,
            capacity=decoded.nbytes,
            fill=self._fill.ctypes.data if limit < 0 or 0 <= layout.fill_value < limit else 0,
            fill_bytes=self._fill.nbytes,
            add_up=add_up_address(size) if codecs.differences else 0,
            within=within_address(self.dtype) if limit >= 0 and not codecs.differences else 0,
            limit=limit,
        )
        return StoredChunks(
            decoder=decoder,
            fd=located.fd,
            offset=located.offset,
            nbytes=located.nbytes,
            before=self._before(reads, pieces),
            chunk=layout.chunk,
            encoded=encoded,
            values=decoded.view(stored),
        )

    def _before(self, reads: Reads, pieces: Pieces) -> np.ndarray:
        """Return the value before each stretch, where values are stored as differences: a chunk begins with 0."""
        if not self.layout.codecs.differences:
            return np.empty(0, dtype=np.int64)
        assert pieces.before is not None, "rows know the value before them"
        first: np.ndarray = pieces.before[reads.piece].astype(np.int64)
        first[reads.start == reads.chunk * self.layout.chunk] = 0
        return first

    def _run(
        self,
        kernel: Kernel,
        reads: Reads,
        pieces: Pieces,
        located: ChunkLocations,
        stored: np.dtype,
        *arguments: np.ndarray | int,
    ) -> int:
        from .._kernels.fetch import DONE

        total = 0
        for some in reads.in_few_files(self.layout.per_file):
            few = reads.part(some)
            with located.part(some).opened() as there:
                array = self.kernel_input(few, pieces, there, stored=stored, scratch="decoded")
                status, number, n_bytes = kernel(array, few.fields, pieces.fields, *arguments)
            if status != DONE:
                raise self.error(status, int(few.chunk[number]))
            total += n_bytes
        return total

    def error(self, status: int, chunk: int) -> CorruptDataError:
        """Return the error for a kernel's status, with the file, the chunk and the array."""
        from .._kernels.contexts import forget_contexts

        forget_contexts()
        layout = self.layout
        number, within = divmod(chunk, layout.per_file)
        where = f"chunk {chunk}" + (f" (number {within} in its shard)" if layout.sharded else "")
        return CorruptDataError(f"{layout.file(number)} {WHAT_FAILED[status]}: {where} of array {layout.folder}.")

    def _block_elements(self) -> int:
        """Return the elements of a Blosc block, the least that can be decoded, as the first chunk's header gives it."""
        if self._block is None:
            self._block = self.layout.chunk
            if self.layout.codecs.compressor:
                file = self._files.get(0)
                header = os.pread(file.fd, HEADER, int(file.offset[0])) if file.fd >= 0 and file.offset[0] >= 0 else b""
                block_bytes = int.from_bytes(header[8:12], "little")
                self._block = min(self.layout.chunk, max(1, block_bytes // self.dtype.itemsize or self.layout.chunk))
            else:
                self._block = 1
        return self._block


def _file_size(path: PurePath) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
