"""Fetch chunks from files, and the parts of Blosc chunks that are needed."""

from __future__ import annotations

import numpy as np

from .blosc_header import EXTENDED, HEADER, STORED
from .clib import blosc_getitem, memcpy, pread
from .jit import inner

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE, NOT_THE_CHECKSUM = 0, -1, -2, -3, -4, -5, -6
"""What kernels return."""

FIRST_BYTES = 1024
"""Bytes of a Blosc chunk that are fetched first where only a part of it is needed: its header, and where blocks begin.

Where more than half is needed, all of it is fetched at once."""


@inner
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


@inner
def is_blosc_chunk(encoded: np.ndarray, nbytes: int, chunk_bytes: int) -> bool:
    """Return whether the header of a Blosc chunk states the sizes that it should."""
    words = encoded.view(np.int32)
    decoded_size, block, encoded_size = np.int64(words[1]), np.int64(words[2]), np.int64(words[3])
    right = decoded_size == chunk_bytes and encoded_size == nbytes and block > 0
    return right and encoded[2] & EXTENDED != EXTENDED


@inner
def fetch_blocks(fd: int, offset: int, nbytes: int, low: int, high: int, chunk_bytes: int, encoded: np.ndarray) -> int:
    """Fetch the parts of a Blosc chunk that decode to its bytes ``low:high``, to where they lie in the chunk.

    Returns the number of bytes fetched, or an error.
    """
    if nbytes < HEADER or nbytes > encoded.size:
        return NOT_THE_CHUNK
    head = nbytes if 2 * (high - low) > chunk_bytes else min(nbytes, FIRST_BYTES)
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


@inner
def decode_blosc(context: int, encoded: np.ndarray, nbytes: int, low: int, high: int, out: np.ndarray) -> int:
    """Decode the bytes ``low:high`` of a fetched Blosc chunk; return where in ``out`` they begin, or an error.

    Blosc counts items of the size in the chunk's header, which may differ from the array's: the decoded bytes may begin
    a little earlier.
    """
    size = max(1, np.int64(encoded[3]))
    first, stop = low // size, -(-high // size)
    # Of parts of two blocks that are together as long as one of them, c-blosc2 (3.3.5) decodes the second block alone,
    # in place of both, and reports success. The last block may be shorter than the others.
    words = encoded.view(np.int32)
    block = max(np.int64(words[2]), 1)
    last = np.int64(words[1]) % block
    while first * size % block and ((stop - first) * size == block or (stop - first) * size == last):
        first -= 1
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
