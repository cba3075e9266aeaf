"""Fetch chunks from files, and the parts of Blosc chunks that are needed.

Memory is given by its address: functions of numbers compile in half the time of functions of arrays.
"""

from __future__ import annotations

import numpy as np

from .blosc_header import EXTENDED, HEADER, STORED
from .clib import blosc_getitem, memcpy, pread
from .intrinsics import load
from .jit import inner

DONE, READ_FAILED, TOO_SHORT, NOT_THE_CHUNK, UNDECODABLE, OUT_OF_RANGE, NOT_THE_CHECKSUM = 0, -1, -2, -3, -4, -5, -6
"""What kernels return."""

FIRST_BYTES = 1024
"""Bytes of a Blosc chunk that are fetched first where only a part of it is needed: its header, and where blocks begin.

Where more than half is needed, all of it is fetched at once."""

IN_MEMORY = -1
"""In place of a file descriptor: the offset is an address."""

STAGED_FIELDS = 7
"""Fields of int64 that describe a chunk of which parts are in memory; minus their address stands for the descriptor.

The file's descriptor; then of two ranges of the file, where they begin and end, and the address of what was read of
them. What lies in neither is read from the file."""


@inner
def fetch(fd: int, to: int, n: int, offset: int) -> int:
    """Read ``n`` bytes at ``offset`` of a file to memory; ``fd`` may be what stands for a descriptor."""
    if fd < 0:
        if fd == IN_MEMORY:
            memcpy(to, offset, n)
            return DONE
        for field in (1, 4):
            begin, end = load(np.int64, 8 * field - fd), load(np.int64, 8 * field + 8 - fd)
            if begin <= offset and offset + n <= end:
                memcpy(to, load(np.int64, 8 * field + 16 - fd) + offset - begin, n)
                return DONE
        fd = load(np.int64, -fd)
    done = 0
    while done < n:
        got = pread(np.int32(fd), to + done, n - done, offset + done)
        if got < 0:
            return READ_FAILED
        if got == 0:
            return TOO_SHORT
        done += got
    return DONE


@inner
def is_blosc_chunk(encoded: int, nbytes: int, chunk_bytes: int) -> bool:
    """Return whether the header of a Blosc chunk states the sizes that it should."""
    if load(np.int32, encoded + 4) != chunk_bytes or load(np.int32, encoded + 12) != nbytes:
        return False
    return load(np.int32, encoded + 8) > 0 and load(np.uint8, encoded + 2) & EXTENDED != EXTENDED


@inner
def _first_bytes(fd: int, offset: int, part: int, chunk_bytes: int) -> int:
    """Return how many bytes of a Blosc chunk to fetch first where ``part`` of its decoded bytes are needed."""
    if fd < IN_MEMORY:
        begin, end = load(np.int64, 8 - fd), load(np.int64, 16 - fd)
        if begin == offset and end - begin >= HEADER:
            return end - begin
    return FIRST_BYTES if 2 * part <= chunk_bytes else np.int64(1) << 40


@inner
def fetch_blocks(
    fd: int, offset: int, nbytes: int, low: int, high: int, chunk_bytes: int, encoded: int, room: int
) -> int:
    """Fetch the parts of a Blosc chunk that decode to its bytes ``low:high``, to where they lie in the chunk.

    ``encoded`` has ``room`` bytes. Returns the number of bytes fetched, or an error.
    """
    if nbytes < HEADER or nbytes > room:
        return NOT_THE_CHUNK
    head = min(nbytes, _first_bytes(fd, offset, high - low, chunk_bytes))
    status = fetch(fd, encoded, head, offset)
    if status != DONE:
        return status
    if not is_blosc_chunk(encoded, nbytes, chunk_bytes):
        return NOT_THE_CHUNK
    if head == nbytes:
        return nbytes
    block = np.int64(load(np.int32, encoded + 8))
    first, last, n_blocks = low // block, (high - 1) // block, -(-chunk_bytes // block)
    if load(np.uint8, encoded + 2) & STORED:
        begin, end = HEADER + first * block, min(nbytes, HEADER + (last + 1) * block)
    else:
        table = HEADER + 4 * n_blocks
        if table > nbytes:
            return NOT_THE_CHUNK
        if table > head:
            status = fetch(fd, encoded + head, table - head, offset + head)
            if status != DONE:
                return status
            head = table
        # Blocks lie in the order in which threads finished them: the last one needed ends where the next one begins.
        begin, end = nbytes, 0
        for b in range(first, last + 1):
            at = np.int64(load(np.int32, encoded + HEADER + 4 * b))
            if at < table or at >= nbytes:
                return NOT_THE_CHUNK
            begin = min(begin, at)
            end = max(end, at)
        behind = nbytes
        for b in range(n_blocks):
            at = np.int64(load(np.int32, encoded + HEADER + 4 * b))
            if end < at < behind:
                behind = at
        end = behind
    begin = max(begin, head)
    if end > begin:
        status = fetch(fd, encoded + begin, end - begin, offset + begin)
        if status != DONE:
            return status
        return head + end - begin
    return head


@inner
def decode_blosc(context: int, encoded: int, nbytes: int, low: int, high: int, to: int, room: int) -> int:
    """Decode the bytes ``low:high`` of a fetched Blosc chunk; return where behind ``to`` they begin, or an error.

    Blosc counts items of the size in the chunk's header, which may differ from the array's: the decoded bytes may begin
    a little earlier, and must fit into ``room`` bytes.
    """
    size = max(1, np.int64(load(np.uint8, encoded + 3)))
    first, stop = low // size, -(-high // size)
    # Of parts of two blocks that are together as long as one of them, c-blosc2 (3.3.5) decodes the second block alone,
    # in place of both, and reports success. The last block may be shorter than the others.
    block = max(np.int64(load(np.int32, encoded + 8)), 1)
    last = np.int64(load(np.int32, encoded + 4)) % block
    while first * size % block and ((stop - first) * size == block or (stop - first) * size == last):
        first -= 1
    n = (stop - first) * size
    if n > room:
        return UNDECODABLE
    got = blosc_getitem(context, encoded, np.int32(nbytes), np.int32(first), np.int32(stop - first), to, np.int32(room))
    if got != n:
        return UNDECODABLE
    return low - first * size
