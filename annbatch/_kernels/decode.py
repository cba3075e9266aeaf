"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` of what is needed of a chunk, Blosc's decoder into scratch
memory that stays in the core's cache, then each row fragment to its place, cast on the way. There is no second pass.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numba as nb
import numpy as np

from .clib import blosc_getitem, memcpy, pread
from .copy import LARGE, LONG, copy, fence, prefetch
from .intrinsics import borrowed

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE = 0, -1, -2, -3, -4, -5

HEADER = 16
"""Bytes of a Blosc chunk's header: version, version of the compressor, flags, typesize; then as int32 the sizes of
the decoded chunk, a block and the encoded chunk. Starts of the blocks follow as int32, unless flag 2 (stored) is
set."""

_STORED = 2

_BLOSC2 = 5
"""Flags of a header of Blosc 2, which is longer: zarr's codec writes none."""

StoredChunks: TypeAlias = tuple[Any, ...]
Fields: TypeAlias = tuple[np.ndarray, ...]


@nb.njit(nogil=True, cache=True)
def fetch(fd: int, out: np.ndarray, start: int, n: int, offset: int) -> int:
    """Read ``n`` bytes at ``offset`` of a file to ``out[start:]``; without a file (-1), ``offset`` is an address."""
    if fd < 0:
        memcpy(np.uint64(out.ctypes.data + start), np.uint64(offset), np.uint64(n))
        return DONE
    done = 0
    while done < n:
        got = pread(np.int32(fd), np.uint64(out.ctypes.data + start + done), np.uint64(n - done), offset + done)
        if got < 0:
            return READ_FAILED
        if got == 0:
            return TOO_SHORT
        done += got
    return DONE


@nb.njit(nogil=True, cache=True)
def fetch_blocks(fd: int, offset: int, nbytes: int, low: int, high: int, chunk_bytes: int, encoded: np.ndarray) -> int:
    """Fetch of a Blosc chunk what is needed to decode its bytes ``low:high``; leave gaps where nothing is.

    Returns the bytes fetched, or an error.
    """
    if nbytes < HEADER or nbytes > encoded.size:
        return NOT_THE_CHUNK
    head = nbytes if 4 * (high - low) > chunk_bytes else min(nbytes, 1024)
    status = fetch(fd, encoded, 0, head, offset)
    if status != DONE:
        return status
    words = encoded.view(np.int32)
    decoded_size, block, encoded_size = np.int64(words[1]), np.int64(words[2]), np.int64(words[3])
    if decoded_size != chunk_bytes or encoded_size != nbytes or block <= 0:
        return NOT_THE_CHUNK
    if encoded[2] & _BLOSC2 == _BLOSC2:
        return NOT_THE_CHUNK
    if head == nbytes:
        return nbytes
    first, last, n_blocks = low // block, (high - 1) // block, -(-decoded_size // block)
    if encoded[2] & _STORED:
        begin, end = HEADER + first * block, min(nbytes, HEADER + (last + 1) * block)
    else:
        table = HEADER + 4 * n_blocks
        if table > nbytes:
            return NOT_THE_CHUNK
        if table > head:
            status = fetch(fd, encoded, head, table - head, offset + head)
            if status != DONE:
                return status
            head = table
        # Blocks lie in the order in which threads finished them: the wanted ones end where the next one begins.
        begin, end = nbytes, np.int64(0)
        for b in range(first, last + 1):
            at = np.int64(words[4 + b])
            if at < table or at >= nbytes:
                return NOT_THE_CHUNK
            begin = min(begin, at)
            end = max(end, at)
        behind = nbytes
        for b in range(n_blocks):
            at = np.int64(words[4 + b])
            if end < at < behind:
                behind = at
        end = behind
    begin = max(begin, head)
    if end > begin:
        status = fetch(fd, encoded, begin, end - begin, offset + begin)
        if status != DONE:
            return status
        return head + end - begin
    return head


@nb.njit(nogil=True, cache=True)
def decode_blosc(context: int, encoded: np.ndarray, nbytes: int, low: int, high: int, out: np.ndarray) -> int:
    """Decode the bytes ``low:high`` of a fetched Blosc chunk; return where in ``out`` they begin, or an error.

    Blosc counts in items of the size that the chunk names, which need not be the array's: the bytes decoded may begin
    a little earlier.
    """
    size = max(1, np.int64(encoded[3]))
    first, stop = low // size, -(-high // size)
    n = (stop - first) * size
    if n > out.size:
        return UNDECODABLE
    got = blosc_getitem(
        np.uint64(context),
        np.uint64(encoded.ctypes.data),
        np.int32(nbytes),
        np.int32(first),
        np.int32(stop - first),
        np.uint64(out.ctypes.data),
        np.int32(out.size),
    )
    if got != n:
        return UNDECODABLE
    return low - first * size


@nb.njit(nogil=True, cache=True)
def read_stretch(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int]:
    """Put stretch ``r`` into the array's scratch memory; return where in it, or an error, and the bytes fetched.

    Parameters
    ----------
    array
        What :class:`~annbatch._sources.native.KernelInput` holds.
    reads
        The fields of :class:`~annbatch._sources.reads.Reads`.
    """
    context, fd, offset, nbytes, chunk, blosc, fill, encoded, decoded, stored, _ = array
    chunk_of, start, stop, _ = reads
    origin, size, chunk_bytes = chunk_of[r] * chunk, stored.itemsize, chunk * stored.itemsize
    low, high = (start[r] - origin) * size, (stop[r] - origin) * size
    if offset[r] < 0:
        for i in range(high - low):
            decoded[i] = fill[i % fill.size]
        return 0, 0
    if not blosc:
        if nbytes[r] != chunk_bytes:
            return NOT_THE_CHUNK, 0
        status = fetch(fd[r], decoded, 0, high - low, offset[r] + low)
        return status, high - low
    fetched = fetch_blocks(fd[r], offset[r], nbytes[r], low, high, chunk_bytes, encoded)
    if fetched < 0:
        return fetched, 0
    return decode_blosc(context, encoded, nbytes[r], low, high, decoded), fetched


@nb.njit(nogil=True, cache=True)
def within(values: np.ndarray, limit: int) -> bool:
    """Say whether all values are at least 0 and below ``limit``.

    A damaged column number would be used as an address later. Finding the extremes vectorises: it costs a fraction of
    the copy that follows.
    """
    smallest = largest = values[0]
    for j in range(values.size):
        smallest, largest = min(smallest, values[j]), max(largest, values[j])
    return smallest >= 0 and largest < limit


@nb.njit(nogil=True, cache=True)
def read_values(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int, np.ndarray]:
    """Read stretch ``r`` and check its values; return ``DONE`` or an error, the bytes fetched, and the values."""
    stored, limit = array[9], array[10]
    n = reads[2][r] - reads[1][r]
    begin, fetched = read_stretch(array, reads, r)
    if begin < 0:
        return begin, fetched, stored[:0]
    if begin % stored.itemsize:  # the chunk's items are not those that the metadata tell
        return NOT_THE_CHUNK, fetched, stored[:0]
    first = begin // stored.itemsize
    values = borrowed(stored)[first : first + n]
    if limit >= 0 and not within(values, limit):
        return OUT_OF_RANGE, fetched, values
    return DONE, fetched, values


@nb.njit(nogil=True, cache=True)
def read_pieces(array: StoredChunks, reads: Fields, pieces: Fields, out: np.ndarray) -> tuple[int, int, int]:
    """Read stretches of one array and copy their pieces to ``out``, casting.

    Parameters
    ----------
    array, reads
        As for :func:`read_stretch`.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces, in elements.
    out
        Flat, of the dtype to cast to.

    Returns
    -------
    tuple of int
        ``DONE`` or an error; the number of the stretch that it concerns; bytes fetched.
    """
    _, low, high, piece = reads
    start, length, dest = pieces
    large, long = out.nbytes >= LARGE, LONG // out.itemsize
    out, total = borrowed(out), 0
    for r in range(low.size):
        status, fetched, values = read_values(array, reads, r)
        if status != DONE:
            fence()
            return status, r, total
        total += fetched
        i = piece[r]
        while i < start.size and start[i] < high[r]:
            a, b = max(start[i], low[r]), min(start[i] + length[i], high[r])
            to = out[dest[i] + a - start[i] : dest[i] + b - start[i]]
            i += 1
            if i < start.size and length[i] < long:
                prefetch(out, dest[i])
            copy(values[a - low[r] : b - low[r]], to, large and b - a >= long)
    fence()
    return DONE, 0, total
