"""The limit of a disk: the byte ranges that rows lie in, read with as many requests in flight as the disk wants."""

from __future__ import annotations

import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import zarr

from annbatch import DatasetCollection
from annbatch._arrays.chunk_files import ChunkFiles
from annbatch._format.layout import chunk_layout
from annbatch._kernels.blosc_header import HEADER, STORED
from annbatch._kernels.clib import pread

UNIT = 4096
"""Direct I/O reads whole blocks of a disk, to addresses that are multiples of it."""

GAP = 8 << 10
"""Ranges that lie closer together are read as one."""

LONGEST = 512 << 10
"""Longer ranges are cut, so that all requests in flight take part."""

DEPTHS = (2, 8, 32, 128)


def open_disk(task):
    """Return the sample that reads the ranges of all windows around the page cache, at the best depth."""
    ranges = _Ranges(task)
    fields, wanted = ranges.of_windows(), ranges.wanted
    room = mmap.mmap(-1, max(1, int(fields[2].max(initial=1))) * max(DEPTHS))
    buffer = np.frombuffer(room, np.uint8)
    pools = {depth: ThreadPoolExecutor(depth) for depth in DEPTHS}

    def read(depth, n):
        step = buffer.size // max(DEPTHS)
        shares = [
            pools[depth].submit(read_ranges, *(field[i:n:depth] for field in fields), buffer[i * step : (i + 1) * step])
            for i in range(depth)
        ]
        if min(share.result() for share in shares) < 0:
            raise OSError("A range of the store could not be read.")

    def seconds(depth):
        begin = time.perf_counter()
        read(depth, min(len(fields[0]), 4096))
        return time.perf_counter() - begin

    seconds(DEPTHS[0])  # compiles
    depth = min(DEPTHS, key=seconds)

    def sample():
        read(depth, None)
        return {"amount": ranges.n_rows, "wanted_bytes": wanted, "depth": depth}

    return sample


class _Ranges:
    """The ranges of files that hold the rows of windows, drawn as a loader draws them.

    Attributes
    ----------
    n_rows
        Rows in all windows.
    wanted
        Bytes of the encoded blocks that hold them.
    """

    def __init__(self, task):
        self._fds, self.wanted = {}, 0
        array = zarr.open(task["store"], mode="r")
        if isinstance(array, zarr.Array):
            starts = np.arange(array.shape[0] + 1, dtype=np.int64) * int(np.prod(array.shape[1:]))
            self._datasets = [(starts, [_Array(array, self._fd)])]
        else:
            groups = [group["X"] for group in DatasetCollection(task["store"], mode="r")]
            self._datasets = [
                (group["indptr"][:].astype(np.int64), [_Array(group[name], self._fd) for name in ("data", "indices")])
                for group in groups
            ]
        self._size, self._window, self._wanted_rows = task["chunk_size"], task["window"], task["rows"]
        self.n_rows = 0

    def of_windows(self):
        """Return descriptor, offset and size of each range, in the order of the windows."""
        bounds = np.cumsum([0, *(len(starts) - 1 for starts, _ in self._datasets)])
        runs = np.random.default_rng(0).permutation(bounds[-1] // self._size)
        per_window = max(1, self._window // self._size)
        parts = []
        for begin in range(0, min(len(runs), self._wanted_rows // self._size), per_window):
            first = np.sort(runs[begin : begin + per_window]) * self._size
            self.n_rows += len(first) * self._size
            for number, (starts, arrays) in enumerate(self._datasets):
                here = first[(first >= bounds[number]) & (first < bounds[number + 1])] - bounds[number]
                start, stop = starts[here], starts[np.minimum(here + self._size, len(starts) - 1)]
                for array in arrays:
                    ranges = array.ranges(start, stop)
                    self.wanted += int((ranges[2] - ranges[1]).sum())
                    parts.append(_together(*ranges))
        return tuple(np.concatenate(field) for field in zip(*parts, strict=True))

    def _fd(self, path):
        if path not in self._fds:
            self._fds[path] = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
        return self._fds[path]


class _Array:
    """Where the blocks of an array lie in its files."""

    def __init__(self, array, fd):
        self._layout, self._fd = chunk_layout(array), fd
        self._files, self._tables = ChunkFiles(self._layout), {}

    def ranges(self, start, stop):
        """Return descriptor, begin and end of the encoded bytes of element ranges: one per chunk that they touch."""
        layout, size = self._layout, self._layout.dtype.itemsize
        found = []
        for low, high in zip(start.tolist(), stop.tolist(), strict=True):
            for chunk in range(low // layout.chunk, -(-high // layout.chunk)):
                origin = chunk * layout.chunk
                first, last = max(low - origin, 0) * size, min(high - origin, layout.chunk) * size
                number, inside = divmod(chunk, layout.per_file)
                begin, end = self._encoded(number, inside, first, last)
                found.append((self._fd(layout.file(number)), begin, end))
        return tuple(np.array(found, np.int64).reshape(-1, 3).T)

    def _encoded(self, number, inside, first, last):
        file = self._files.get(number)
        offset, nbytes = int(file.offset[inside]), int(file.nbytes[inside])
        if self._layout.codecs.plain:
            return offset + first, offset + last
        if self._layout.codecs.whole:
            return offset, offset + nbytes
        key = number, inside
        if key not in self._tables:
            header = np.frombuffer(os.pread(file.fd, HEADER, offset), np.uint8)
            decoded, block = header[4:12].view(np.int32).tolist()
            n_blocks = -(-decoded // block)
            table = HEADER + block * np.arange(n_blocks)
            if not header[2] & STORED:
                table = np.frombuffer(os.pread(file.fd, 4 * n_blocks, offset + HEADER), np.int32)
            self._tables[key] = block, table, np.append(np.sort(table), nbytes)
        block, table, borders = self._tables[key]
        at = table[first // block : (last - 1) // block + 1]
        return offset + int(at.min()), offset + int(borders[np.searchsorted(borders, at.max(), side="right")])


def _together(fd, begin, end):
    """Return descriptor, offset and size of requests for ranges: whole blocks, neighbours together, long ones cut."""
    order = np.lexsort((begin, fd))
    fd, begin, end = fd[order], begin[order] // UNIT * UNIT, -(-end[order] // UNIT) * UNIT
    far = (fd[1:] != fd[:-1]) | (begin[1:] > end[:-1] + GAP)
    first = np.flatnonzero(np.append(len(fd) > 0, far))
    last = np.append(first[1:], len(fd))[: len(first)] - 1
    fd, begin, end = fd[first], begin[first], end[last]
    count = np.maximum(1, -(-(end - begin) // LONGEST))
    one = np.repeat(np.arange(len(fd)), count)
    offset = begin[one] + (np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)) * LONGEST
    return fd[one], offset, np.minimum(LONGEST, end[one] - offset)


@nb.njit(nogil=True, cache=True)
def read_ranges(fd, offset, size, buffer):
    """Read ranges one after the other; return -1 where the disk fails."""
    for i in range(fd.size):
        if pread(np.int32(fd[i]), buffer.ctypes.data, size[i], offset[i]) <= 0:
            return -1
    return 0
