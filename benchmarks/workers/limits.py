"""Measure the limits of the machine: copying, reading, decoding, and the limit for any loader of a store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import zarr
from disk import open_disk
from serve import serve

from annbatch import DatasetCollection
from annbatch._arrays.chunk_files import ChunkFiles
from annbatch._format.layout import chunk_layout
from annbatch._kernels.clib import blosc_getitem
from annbatch._kernels.contexts import BLOSC_CHUNK, context

MOST_ENCODED_BYTES = 192 << 20
"""Most encoded bytes of an array to hold in memory: more than most caches, and enough to draw rows from."""

COPIED_BYTES = 256 << 20
MOST_READ_BYTES = 512 << 20
PREAD_BYTES = 1 << 20


def open_task(task):
    if task["kind"] == "disk":
        return open_disk(task)
    n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(n_threads)
    kinds = {"copy": _copy, "pread": _pread, "decode": _decode, "sparse": _loader, "dense": _loader}
    return kinds[task["kind"]](task, pool, n_threads)


def _copy(task, pool, n_threads):
    source, target = np.ones(COPIED_BYTES, np.uint8), np.ones(COPIED_BYTES, np.uint8)
    parts = list(zip(np.array_split(target, n_threads), np.array_split(source, n_threads), strict=True))

    def sample():
        list(pool.map(lambda part: np.copyto(*part), parts))
        return COPIED_BYTES

    return sample


def _pread(task, pool, n_threads):
    """Read files from their beginnings, each thread its share of stretches of 1 MB."""
    layout = chunk_layout(_matrices(task)[0][0])
    path = layout.file(0)
    n_stretches = max(1, min(path.stat().st_size, MOST_READ_BYTES) // PREAD_BYTES)

    def read(share):
        buffer = np.empty(PREAD_BYTES, np.uint8)
        fd = os.open(path, os.O_RDONLY)
        try:
            return sum(os.preadv(fd, [buffer], int(number) * PREAD_BYTES) for number in share)
        finally:
            os.close(fd)

    shares = np.array_split(np.arange(n_stretches), n_threads)
    return lambda: sum(pool.map(read, shares))


def _decode(task, pool, n_threads):
    """Decode the first chunks of an array completely, into a cache-sized scratch buffer."""
    matrix, _ = _matrices(task)[task["array"]]
    chunks = _encoded(matrix)
    nothing = np.empty(0, chunks.dtype)
    jobs = [
        chunks.reads(first * chunks.chunk, stop * chunks.chunk)
        for first, stop in _ranges(np.arange(chunks.n_chunks), 4 * n_threads)
    ]

    def sample():
        list(pool.map(lambda reads: chunks.write(reads, nothing), jobs))
        return chunks.n_chunks * chunks.chunk

    return sample


def _loader(task, pool, n_threads):
    """Decode rows drawn as a loader draws them, and write them once: no planning, no files, no scatter.

    A window has runs of ``chunk_size`` rows, drawn without replacement and sorted; a block that two runs share is
    decoded once. Encoded bytes are in memory already, and the window's memory is reused. If memory holds only part of
    the store, windows are smaller in proportion, so that their rows lie as far apart.
    """
    matrices = _matrices(task)
    chunks = [_encoded(matrix) for matrix, _ in matrices]
    starts, total = _row_starts(task)
    held = min(part.n_chunks * part.chunk for part in chunks)
    n_rows = int(np.searchsorted(starts, held, side="right")) - 1
    size = min(task["chunk_size"], n_rows)
    n_runs = max(1, int(min(task["window"], task["rows"]) * min(1, n_rows / total)) // size)
    rng = np.random.default_rng(0)
    plans, most = [], 0
    for _ in range(max(1, task["rows"] // (n_runs * size))):
        first = np.sort(rng.permutation(n_rows // size)[:n_runs]) * size
        jobs, at = [], 0
        for begin, end in _ranges(first, min(2 * n_threads, n_runs)):
            rows = first[(first >= begin) & (first < end)]
            start, stop = starts[rows], starts[rows + size]
            n = int((stop - start).sum())
            jobs += [(number, part.reads(start, stop), at, at + n) for number, part in enumerate(chunks)]
            at += n
        plans.append(jobs)
        most = max(most, at)
    outs = [np.ones(most, dtype) for _, dtype in matrices]

    def sample():
        for jobs in plans:
            list(pool.map(lambda job: chunks[job[0]].write(job[1], outs[job[0]][job[2] : job[3]]), jobs))
        return len(plans) * n_runs * size

    return sample


def _ranges(numbers, n):
    """Split sorted numbers into ``n`` ranges of about equal counts, as start and stop."""
    return [(part[0], part[-1] + 1) for part in np.array_split(numbers, n) if len(part)]


def _encoded(matrix):
    """Return the encoded chunks of an array; those of a few arrays stay in memory for the next task."""
    key = str(matrix.store_path)
    if key not in _kept:
        while len(_kept) >= 6:
            _kept.pop(next(iter(_kept)))
        _kept[key] = EncodedChunks(matrix)
    return _kept[key]


_kept = {}


def _matrices(task):
    """Return the arrays that hold the rows, each with its dtype in a batch."""
    if "array_store" in task or task["kind"] == "dense":
        array = zarr.open_array(task["store"], mode="r")
        return [(array, array.dtype)]
    group = next(iter(DatasetCollection(task["store"], mode="r")))["X"]
    dtype = np.dtype(group.attrs.get("annbatch-dtype", group["data"].dtype))
    return [(group["data"], dtype), (group["indices"], np.dtype(np.int32))]


def _row_starts(task):
    """Return the first element of each row of the first dataset, and the number of rows in all datasets."""
    if task["kind"] == "dense":
        shape = zarr.open_array(task["store"], mode="r").shape
        return np.arange(shape[0] + 1, dtype=np.int64) * int(np.prod(shape[1:])), shape[0]
    collection = DatasetCollection(task["store"], mode="r")
    return next(iter(collection))["X/indptr"][:].astype(np.int64), collection.n_obs


class EncodedChunks:
    """The first chunks of an array on the local disk, read into memory in encoded form."""

    def __init__(self, matrix):
        layout = chunk_layout(matrix)
        if layout is None or layout.codecs.whole or layout.codecs.big_endian:
            raise ValueError(f"{matrix} must be stored by rows, with Blosc or uncompressed, to measure its limit.")
        self.chunk, self.dtype, self._blosc = layout.chunk, layout.dtype, bool(layout.codecs.compressor)
        files, total = ChunkFiles(layout), -(-layout.size // layout.chunk)
        parts, at, sizes, filled = [], [], [], 0
        for number in range(total):
            file, inside = files.get(number // layout.per_file), number % layout.per_file
            n_bytes = int(file.nbytes[inside])
            if filled + n_bytes > MOST_ENCODED_BYTES:
                break
            parts.append(os.pread(file.fd, n_bytes, int(file.offset[inside])))
            at.append(filled)
            sizes.append(n_bytes)
            filled += -(-n_bytes // 64) * 64
        self.n_chunks = len(parts)
        self._encoded = np.zeros(filled, np.uint8)
        for begin, part in zip(at, parts, strict=True):
            self._encoded[begin : begin + len(part)] = np.frombuffer(part, np.uint8)
        self._at, self._sizes = np.array(at, np.int64), np.array(sizes, np.int64)
        self.block = 1
        if self._blosc:
            self.block = max(1, int(self._encoded[8:12].view(np.int32)[0]) // self.dtype.itemsize)
        if self._blosc and self._encoded[3] != self.dtype.itemsize:
            raise ValueError(f"{matrix} holds Blosc items of {self._encoded[3]} bytes, not of {self.dtype.itemsize}.")

    def reads(self, start, stop):
        """Cut sorted element ranges at chunk borders, and join those that share a block of a chunk.

        Returns the chunk of each read, the first and last element of each piece, and the first piece of each read.
        """
        start, stop = np.atleast_1d(start, stop)
        first, last = start // self.chunk, np.maximum(start, stop - 1) // self.chunk
        count = last - first + 1
        run = np.repeat(np.arange(len(start)), count)
        chunk = first[run] + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        low, high = np.maximum(start[run], chunk * self.chunk), np.minimum(stop[run], (chunk + 1) * self.chunk)
        apart = (chunk[1:] != chunk[:-1]) | (low[1:] // self.block != (high[:-1] - 1) // self.block)
        edges = np.concatenate([[0], np.flatnonzero(apart) + 1, [len(chunk)]])
        return chunk[edges[:-1]], low - chunk * self.chunk, high - chunk * self.chunk, edges

    def write(self, reads, out):
        """Decode reads and write their pieces to ``out`` one after the other; if ``out`` is empty, only decode."""
        scratch = np.empty(self.chunk, self.dtype)
        plain = self._encoded.view(self.dtype)
        where = self._at, self._sizes
        if decode_and_write(context(BLOSC_CHUNK), self._encoded, plain, where, reads, self._blosc, scratch, out) < 0:
            raise ValueError("Blosc could not decode a chunk of the store: damaged?")


@nb.njit(nogil=True, cache=True)
def decode_and_write(context, encoded, plain, where, reads, blosc, scratch, out):
    at, sizes = where
    chunk_of, low, high, edges = reads
    to = 0
    for r in range(chunk_of.size):
        c, first, stop = chunk_of[r], low[edges[r]], high[edges[r + 1] - 1]
        if stop <= first:
            continue
        if blosc:
            got = blosc_getitem(
                context,
                encoded.ctypes.data + at[c],
                np.int32(sizes[c]),
                np.int32(first),
                np.int32(stop - first),
                scratch.ctypes.data,
                np.int32(scratch.nbytes),
            )
            if got < 0:
                return -1
            values = scratch[: stop - first]
        else:
            begin = at[c] // scratch.itemsize + first
            values = plain[begin : begin + stop - first]
        if out.size:
            for p in range(edges[r], edges[r + 1]):
                source = values[low[p] - first : high[p] - first]
                target = out[to : to + source.size]
                for j in range(source.size):
                    target[j] = source[j]
                to += source.size
    return 0


if __name__ == "__main__":
    serve(open_task)
