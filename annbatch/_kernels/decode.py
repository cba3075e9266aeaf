"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` fetches the part of a chunk that is needed, a codec decodes it
to scratch memory that stays in the core's cache, and each row fragment is copied to the batch, cast on the way. There
is no second pass.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numba as nb
import numpy as np

from .blosc_header import EXTENDED, HEADER, STORED
from .clib import blosc_getitem, crc32c, memcpy, pread
from .contexts import BLOSC_CHUNK, PLAIN
from .copy import LARGE, LONG, copy, fence, prefetch
from .decompress import decompress
from .intrinsics import borrowed

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE, NOT_THE_CHECKSUM = 0, -1, -2, -3, -4, -5, -6

Fields: TypeAlias = tuple[np.ndarray, ...]


class StoredChunks(NamedTuple):
    """Chunks of one array, as kernels read them on one thread.

    A named tuple costs 1.6 us more per call of a kernel than a plain one (3.9 instead of 2.2), and a call reads for
    milliseconds.

    Attributes
    ----------
    codec
        Number of the compressor; see :mod:`~annbatch._kernels.contexts`.
    context
        Address of the thread's working memory for it.
    whole
        Whether a chunk is decoded from its beginning.
    checksum
        Whether a CRC-32C follows each chunk.
    big_endian
        Whether values are big-endian.
    transposed
        Items per chunk if the chunk's first axis is stored last; 0 otherwise.
    fd, offset, nbytes
        ``(n_reads,)`` int64: file descriptor, offset and size of the chunk of each read. An ``fd`` of -1 makes
        ``offset`` an address; an ``offset`` of -1 is a chunk that was never written.
    chunk
        Elements per chunk.
    fill
        Bytes of the fill value.
    encoded, decoded
        Scratch memory, in bytes.
    stored_order
        Scratch memory for a transposed chunk, as values.
    values
        ``decoded`` as values, of the array's dtype or an integer of the same size.
    limit
        Bound that values must be below; -1 for none.
    """

    codec: int
    context: int
    whole: bool
    checksum: bool
    big_endian: bool
    transposed: int
    fd: np.ndarray
    offset: np.ndarray
    nbytes: np.ndarray
    chunk: int
    fill: np.ndarray
    encoded: np.ndarray
    decoded: np.ndarray
    stored_order: np.ndarray
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
def is_blosc_chunk(encoded: np.ndarray, nbytes: int, chunk_bytes: int) -> bool:
    """Return whether the header of a Blosc chunk states the sizes that it should."""
    words = encoded.view(np.int32)
    decoded_size, block, encoded_size = np.int64(words[1]), np.int64(words[2]), np.int64(words[3])
    right = decoded_size == chunk_bytes and encoded_size == nbytes and block > 0
    return right and encoded[2] & EXTENDED != EXTENDED


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
    if not is_blosc_chunk(encoded, nbytes, chunk_bytes):
        return NOT_THE_CHUNK
    words = encoded.view(np.int32)
    decoded_size, block = np.int64(words[1]), np.int64(words[2])
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
def read_whole(array: StoredChunks, r: int, low: int, high: int, chunk_bytes: int) -> int:
    """Fetch the chunk of stretch ``r``, check it and decode it to ``array.decoded``, at least its bytes ``low:high``.

    Returns where these begin, or an error.
    """
    encoded, n_bytes = array.encoded, array.nbytes[r]
    if n_bytes > encoded.size:
        return NOT_THE_CHUNK
    status = fetch(array.fd[r], encoded, 0, n_bytes, array.offset[r])
    if status != DONE:
        return status
    if array.checksum:
        n_bytes -= 4
        if n_bytes < 0:
            return NOT_THE_CHUNK
        stated = np.uint32(0)
        for i in range(4):
            stated |= np.uint32(encoded[n_bytes + i]) << np.uint32(8 * i)
        if crc32c(np.uint64(encoded.ctypes.data), np.uint64(n_bytes)) != stated:
            return NOT_THE_CHECKSUM
    out, from_, to = array.decoded, low, high
    if array.transposed:
        out, from_, to = array.stored_order.view(np.uint8), 0, chunk_bytes
    if array.codec == PLAIN:
        if n_bytes != chunk_bytes:
            return NOT_THE_CHUNK
        begin = 0
        memcpy(np.uint64(out.ctypes.data), np.uint64(encoded.ctypes.data + from_), np.uint64(to - from_))
    elif array.codec == BLOSC_CHUNK:
        if n_bytes < HEADER or not is_blosc_chunk(encoded, n_bytes, chunk_bytes):
            return NOT_THE_CHUNK
        begin = decode_blosc(array.context, encoded, n_bytes, from_, to, out)
    else:
        begin = from_
        if not decompress(array.codec, array.context, encoded, n_bytes, to, chunk_bytes, out):
            return UNDECODABLE
    if array.transposed and begin >= 0:
        if begin != 0:
            return NOT_THE_CHUNK
        size = array.values.itemsize
        stored = array.stored_order[: array.chunk]
        copy_transposed(stored, array.transposed, low // size, array.values[: (high - low) // size])
    return begin


@nb.njit(nogil=True, cache=True)
def copy_transposed(stored: np.ndarray, n_items: int, first: int, out: np.ndarray) -> None:
    """Copy values from number ``first`` of a chunk to ``out``; the chunk is stored with its first axis, of items, last.

    Values that lie together are read by 16, one for each of as many items: a cache line of most dtypes.
    """
    item = stored.size // n_items
    begin, stop = first // item, -(-(first + out.size) // item)
    for some in range(begin, stop, 16):
        for j in range(item):
            for i in range(some, min(some + 16, stop)):
                to = i * item + j - first
                if 0 <= to < out.size:
                    out[to] = stored[j * n_items + i]


@nb.njit(nogil=True, cache=True)
def swap_bytes(values: np.ndarray, size: int) -> None:
    """Reverse the bytes of each value of ``size`` bytes."""
    if size == 2:
        two = values.view(np.uint16)
        for i in range(two.size):
            two[i] = (two[i] >> 8) | (two[i] << 8)
    elif size == 4:
        four = values.view(np.uint32)
        for i in range(four.size):
            x = four[i]
            four[i] = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
    elif size == 8:
        eight = values.view(np.uint64)
        for i in range(eight.size):
            x = eight[i]
            mask, other = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
            x = ((x >> np.uint64(8)) & mask) | ((x & mask) << np.uint64(8))
            x = ((x >> np.uint64(16)) & other) | ((x & other) << np.uint64(16))
            eight[i] = (x >> np.uint64(32)) | (x << np.uint64(32))


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
    if array.whole:
        fetched = nbytes[r]
        begin = read_whole(array, r, low, high, chunk_bytes)
    elif array.codec == PLAIN:
        if nbytes[r] != chunk_bytes:
            return NOT_THE_CHUNK, 0
        fetched = high - low
        begin = fetch(fd[r], decoded, 0, fetched, offset[r] + low)
    else:
        fetched = fetch_blocks(fd[r], offset[r], nbytes[r], low, high, chunk_bytes, array.encoded)
        if fetched < 0:
            return fetched, 0
        begin = decode_blosc(array.context, array.encoded, nbytes[r], low, high, decoded)
    if array.big_endian and begin >= 0 and begin % size == 0:
        swap_bytes(decoded[begin : begin + high - low], size)
    return begin, fetched


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
