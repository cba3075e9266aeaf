"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` of what is needed of a chunk, Blosc's decoder into scratch
memory that stays in the core's cache, then each row fragment to its place, cast on the way. There is no second pass.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from ._clib import blosc_getitem, pread

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE = 0, -1, -2, -3, -4, -5

HEADER = 16
"""Bytes of a Blosc chunk's header: version, version of the compressor, flags, typesize; then as int32 the sizes of
the decoded chunk, a block and the encoded chunk. Starts of the blocks follow as int32, unless flag 2 (stored) is
set."""

_STORED = 2


@nb.njit(nogil=True, cache=True)
def fetch(fd: int, out: np.ndarray, start: int, n: int, offset: int) -> int:
    """Read ``n`` bytes at ``offset`` of a file to ``out[start:]``."""
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
def read_stretch(
    context: int,
    fd: int,
    offset: int,
    nbytes: int,
    low: int,
    high: int,
    chunk_bytes: int,
    blosc: bool,
    fill: np.ndarray,
    encoded: np.ndarray,
    decoded: np.ndarray,
) -> tuple[int, int]:
    """Put the bytes ``low:high`` of a chunk into ``decoded``; return where they begin, or an error, and bytes fetched.

    Parameters
    ----------
    context
        The thread's Blosc context.
    fd, offset, nbytes
        Where the chunk lies; ``offset`` -1 for one that was never written.
    chunk_bytes
        Size of the decoded chunk.
    blosc
        Whether it is compressed.
    fill
        The array's fill value, as bytes.
    encoded, decoded
        The thread's scratch memory, uint8.
    """
    if offset < 0:
        for i in range(high - low):
            decoded[i] = fill[i % fill.size]
        return 0, 0
    if not blosc:
        if nbytes != chunk_bytes:
            return NOT_THE_CHUNK, 0
        status = fetch(fd, decoded, 0, high - low, offset + low)
        return status, high - low
    fetched = fetch_blocks(fd, offset, nbytes, low, high, chunk_bytes, encoded)
    if fetched < 0:
        return fetched, 0
    return decode_blosc(context, encoded, nbytes, low, high, decoded), fetched


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
def read_pieces(
    context: int,
    files: tuple[np.ndarray, np.ndarray, np.ndarray],
    reads: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    pieces: tuple[np.ndarray, np.ndarray, np.ndarray],
    chunk: int,
    blosc: bool,
    fill: np.ndarray,
    encoded: np.ndarray,
    decoded: np.ndarray,
    stored: np.ndarray,
    limit: int,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches and scatter their pieces.

    Parameters
    ----------
    context
        The thread's Blosc context.
    files
        File descriptor, offset and bytes of each stretch's chunk.
    reads
        The fields of :class:`~annbatch._sources.reads.Reads`.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces, in elements.
    chunk
        Elements a chunk.
    blosc, fill, encoded, decoded
        As for :func:`read_stretch`.
    stored
        ``decoded`` once more, as an array of the stored dtype.
    limit
        Values must be at least 0 and below it, if it is positive.
    out
        Flat, of the dtype to cast to.

    Returns
    -------
    tuple of int
        ``DONE`` or an error; the number of the stretch that it concerns; bytes fetched.
    """
    fd, offset, nbytes = files
    chunk_of, low, high, piece = reads
    start, length, dest = pieces
    size = stored.itemsize
    total = 0
    for r in range(chunk_of.size):
        origin = chunk_of[r] * chunk
        begin, fetched = read_stretch(
            context,
            fd[r],
            offset[r],
            nbytes[r],
            (low[r] - origin) * size,
            (high[r] - origin) * size,
            chunk * size,
            blosc,
            fill,
            encoded,
            decoded,
        )
        if begin < 0:
            return begin, r, total
        if begin % size != 0:  # the chunk's items have another size than the array's metadata says
            return NOT_THE_CHUNK, r, total
        total += fetched
        n_values = high[r] - low[r]
        values = stored[begin // size : begin // size + n_values]
        if limit > 0 and not within(values, limit):
            return OUT_OF_RANGE, r, total
        i = piece[r]
        while i < start.size and start[i] < high[r]:
            a, b = max(start[i], low[r]), min(start[i] + length[i], high[r])
            to = out[dest[i] + a - start[i] : dest[i] + b - start[i]]
            of = values[a - low[r] : b - low[r]]
            for j in range(b - a):
                to[j] = of[j]
            i += 1
    return DONE, 0, total
