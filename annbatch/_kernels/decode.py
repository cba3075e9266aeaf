"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` fetches the part of a chunk that is needed, Blosc decodes it to
scratch memory that stays in the core's cache, and each row fragment is copied to the batch, cast on the way. There is
no second pass.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numba as nb
import numpy as np

from .blosc_header import EXTENDED, HEADER, STORED
from .clib import blosc_getitem, memcpy, pread
from .copy import LARGE, LONG, copy, fence, prefetch
from .intrinsics import borrowed

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE = 0, -1, -2, -3, -4, -5

Fields: TypeAlias = tuple[np.ndarray, ...]


class StoredChunks(NamedTuple):
    """Chunks of one array, as kernels read them on one thread.

    A named tuple costs 1.6 us more per call of a kernel than a plain one (3.9 instead of 2.2), and a call reads for
    milliseconds.

    Attributes
    ----------
    context
        Address of the thread's Blosc context.
    fd, offset, nbytes
        ``(n_reads,)`` int64: file descriptor, offset and size of the chunk of each read. An ``fd`` of -1 makes
        ``offset`` an address; an ``offset`` of -1 is a chunk that was never written.
    chunk
        Elements per chunk.
    blosc
        Whether chunks are Blosc-compressed; plain bytes otherwise.
    fill
        Bytes of the fill value.
    encoded, decoded
        Scratch memory, in bytes.
    values
        ``decoded`` as values, of the array's dtype or an integer of the same size.
    limit
        Bound that values must be below; -1 for none.
    """

    context: int
    fd: np.ndarray
    offset: np.ndarray
    nbytes: np.ndarray
    chunk: int
    blosc: bool
    fill: np.ndarray
    encoded: np.ndarray
    decoded: np.ndarray
    values: np.ndarray
    limit: int


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
    """Fetch the parts of a Blosc chunk that decode to its bytes ``low:high``, to where they lie in the chunk.

    Returns the number of bytes fetched, or an error.
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
    if encoded[2] & EXTENDED == EXTENDED:
        return NOT_THE_CHUNK
    if head == nbytes:
        return nbytes
    first, last, n_blocks = low // block, (high - 1) // block, -(-decoded_size // block)
    if encoded[2] & STORED:
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
        # Blocks lie in the order in which threads finished them: the last one needed ends where the next one begins.
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

    Blosc counts items of the size in the chunk's header, which may differ from the array's: the decoded bytes may begin
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
    """Read stretch ``r`` to ``array.decoded``; return where in it, or an error, and the number of bytes fetched.

    Parameters
    ----------
    array
        The array's chunks.
    reads
        The fields of :class:`~annbatch._arrays.read_plan.Reads`.
    """
    fd, offset, nbytes, decoded = array.fd, array.offset, array.nbytes, array.decoded
    chunk_of, start, stop, _ = reads
    size = array.values.itemsize
    origin, chunk_bytes = chunk_of[r] * array.chunk, array.chunk * size
    low, high = (start[r] - origin) * size, (stop[r] - origin) * size
    if offset[r] < 0:
        for i in range(high - low):
            decoded[i] = array.fill[i % array.fill.size]
        return 0, 0
    if not array.blosc:
        if nbytes[r] != chunk_bytes:
            return NOT_THE_CHUNK, 0
        status = fetch(fd[r], decoded, 0, high - low, offset[r] + low)
        return status, high - low
    fetched = fetch_blocks(fd[r], offset[r], nbytes[r], low, high, chunk_bytes, array.encoded)
    if fetched < 0:
        return fetched, 0
    return decode_blosc(array.context, array.encoded, nbytes[r], low, high, decoded), fetched


@nb.njit(nogil=True, cache=True)
def within(values: np.ndarray, limit: int) -> bool:
    """Return whether all values are at least 0 and below ``limit``.

    A damaged column number would become a wrong address later. Finding the extremes vectorizes, and costs a fraction of
    the copy that follows.
    """
    smallest = largest = values[0]
    for j in range(values.size):
        smallest, largest = min(smallest, values[j]), max(largest, values[j])
    return smallest >= 0 and largest < limit


@nb.njit(nogil=True, cache=True)
def read_values(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int, np.ndarray]:
    """Read stretch ``r`` and check its values; return ``DONE`` or an error, the bytes fetched, and the values."""
    _, start, stop, _ = reads
    values = borrowed(array.values)
    begin, fetched = read_stretch(array, reads, r)
    if begin < 0:
        return begin, fetched, values[:0]
    if begin % values.itemsize:  # the chunk's items are not those of the metadata
        return NOT_THE_CHUNK, fetched, values[:0]
    first = begin // values.itemsize
    values = values[first : first + stop[r] - start[r]]
    if array.limit >= 0 and not within(values, array.limit):
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
        ``DONE`` or an error; the number of the stretch with the error; bytes fetched.
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
