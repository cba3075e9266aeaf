"""Measures what the machine can do at best: copying, reading, decoding, and what bounds any loader of a store."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import zarr
from serve import serve

from annbatch import DatasetCollection
from annbatch._clib import blosc_context, blosc_getitem
from annbatch._sources.files import ChunkFiles
from annbatch._sources.layout import chunk_layout

MOST_ENCODED_BYTES = 512 << 20
"""Of each array at most so much is held in memory, encoded: more than any cache, and enough to draw rows from."""

COPIED_BYTES = 256 << 20
PREAD_BYTES = 1 << 20


def open_task(task):
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
    n_stretches = max(1, min(path.stat().st_size, MOST_ENCODED_BYTES) // PREAD_BYTES)

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
    """Decode the first chunks of one array of the store, whole, into a cache-sized scratch buffer."""
    matrix, _ = _matrices(task)[task["array"]]
    chunks = EncodedChunks(matrix)
    every = np.arange(chunks.n_chunks, dtype=np.int64)
    stretches = every, every * chunks.chunk, (every + 1) * chunks.chunk
    nothing = np.empty(0, chunks.dtype)
    shares = np.array_split(every, 4 * n_threads)

    def sample():
        list(pool.map(lambda share: chunks.write(tuple(part[share] for part in stretches), nothing), shares))
        return chunks.n_chunks * chunks.chunk

    return sample


def _loader(task, pool, n_threads):
    """Decode the bytes of rows drawn as a loader draws them, and write them once: no planning, no files, no scatter.

    Runs of ``chunk_size`` rows at random places, in order of place within a window. Their encoded bytes are in memory
    already, and the window's memory is used again and again.
    """
    matrices = _matrices(task)
    chunks = [EncodedChunks(matrix) for matrix, _ in matrices]
    starts = _row_starts(task)
    held = min(part.n_chunks * part.chunk for part in chunks)
    n_rows = int(np.searchsorted(starts, held, side="right")) - 1
    size, rng = min(task["chunk_size"], n_rows), np.random.default_rng(0)
    window = min(task["window"], task["rows"])
    n_runs = -(-window // size)
    windows = []
    for _ in range(max(1, task["rows"] // window)):
        first = np.sort(rng.integers(0, n_rows - size + 1, n_runs))
        bounds = np.array_split(np.arange(n_runs), min(2 * n_threads, n_runs))
        windows.append([(starts[first[share]], starts[first[share] + size]) for share in bounds])
    most = max(sum(int((stop - start).sum()) for start, stop in shares) for shares in windows)
    outs = [np.ones(most, dtype) for _, dtype in matrices]

    plans = []
    for shares in windows:
        jobs, at = [], 0
        for start, stop in shares:
            n = int((stop - start).sum())
            jobs += [
                (part, part.stretches(start, stop), out[at : at + n]) for part, out in zip(chunks, outs, strict=True)
            ]
            at += n
        plans.append(jobs)

    def sample():
        for jobs in plans:
            list(pool.map(lambda job: job[0].write(job[1], job[2]), jobs))
        return len(plans) * n_runs * size

    return sample


def _matrices(task):
    """Return the arrays that a row is made of, each with the dtype it has in a batch."""
    if "array_store" in task or task["kind"] == "dense":
        array = zarr.open_array(task["store"], mode="r")
        return [(array, array.dtype)]
    group = next(iter(DatasetCollection(task["store"], mode="r")))["X"]
    dtype = np.dtype(group.attrs.get("annbatch-dtype", group["data"].dtype))
    return [(group["data"], dtype), (group["indices"], np.dtype(np.int32))]


def _row_starts(task):
    """Return where each row begins, in elements."""
    if task["kind"] == "dense":
        shape = zarr.open_array(task["store"], mode="r").shape
        return np.arange(shape[0] + 1, dtype=np.int64) * int(np.prod(shape[1:]))
    group = next(iter(DatasetCollection(task["store"], mode="r")))["X"]
    return group["indptr"][:].astype(np.int64)


class EncodedChunks:
    """The first chunks of an array on the local disk, encoded as they are there, in memory."""

    def __init__(self, matrix):
        layout = chunk_layout(matrix)
        if layout is None:
            raise ValueError(
                f"{matrix} is stored in a way that has no limit here: not Blosc, not plain, or not by rows."
            )
        self.chunk, self.dtype, self._blosc = layout.chunk, layout.dtype, layout.blosc
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
        if self._blosc and self._encoded[3] != self.dtype.itemsize:
            raise ValueError(f"{matrix} holds Blosc items of {self._encoded[3]} bytes, not of {self.dtype.itemsize}.")

    def stretches(self, start, stop):
        """Cut element ranges at the borders of chunks: number of chunk, first and last element of each stretch."""
        first, last = start // self.chunk, np.maximum(start, stop - 1) // self.chunk
        count = last - first + 1
        run = np.repeat(np.arange(len(start)), count)
        chunk = first[run] + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return chunk, np.maximum(start[run], chunk * self.chunk), np.minimum(stop[run], (chunk + 1) * self.chunk)

    def write(self, stretches, out):
        """Decode stretches and write them to ``out`` one after the other; only decode where it has no room."""
        scratch = np.empty(self.chunk, self.dtype)
        status = decode_and_write(
            blosc_context(), self._encoded, self._encoded.view(self.dtype), self._at, self._sizes, *stretches,
            self.chunk, self._blosc, scratch, out,
        )  # fmt: skip
        if status < 0:
            raise ValueError("Blosc could not decode a chunk of the store: damaged?")


@nb.njit(nogil=True, cache=True)
def decode_and_write(context, encoded, plain, at, sizes, chunk_of, low, high, chunk, blosc, scratch, out):
    to = 0
    for r in range(chunk_of.size):
        c = chunk_of[r]
        n, first = high[r] - low[r], low[r] - c * chunk
        if n <= 0:
            continue
        if blosc:
            got = blosc_getitem(
                np.uint64(context),
                np.uint64(encoded.ctypes.data + at[c]),
                np.int32(sizes[c]),
                np.int32(first),
                np.int32(n),
                np.uint64(scratch.ctypes.data),
                np.int32(scratch.nbytes),
            )
            if got < 0:
                return -1
            values = scratch[:n]
        else:
            begin = at[c] // scratch.itemsize + first
            values = plain[begin : begin + n]
        if out.size:
            target = out[to : to + n]
            for j in range(n):
                target[j] = values[j]
        to += n
    return 0


if __name__ == "__main__":
    serve(open_task)
