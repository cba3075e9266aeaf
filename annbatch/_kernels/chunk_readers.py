"""Read a stretch of a chunk to scratch memory: compiled once, for all dtypes.

Kernels that copy values are compiled per dtype. What they share, fetching and decoding, is no part of them: they call
it by its address, which costs nothing beside a ``pread``. The reader of each codec is compiled when an array first
needs it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types

from .blosc_header import HEADER
from .clib import crc32c, memcpy
from .contexts import BLOSC_CHUNK, GZIP, LZ4, PLAIN, ZLIB, ZSTD
from .decompress import decompress_gzip, decompress_lz4, decompress_zlib, decompress_zstd
from .fetch import DONE, NOT_THE_CHECKSUM, NOT_THE_CHUNK, UNDECODABLE, decode_blosc, fetch, fetch_blocks, is_blosc_chunk
from .intrinsics import array_at, caller, load
from .jit import address_of, inner


class ChunkDecoder(NamedTuple):
    """How the chunks of one array are decoded, on one thread: numbers alone, so that kernels compile quickly.

    Attributes
    ----------
    stretch
        Address of the function that reads a stretch; see :mod:`~annbatch._kernels.decode`.
    reader
        Address of the reader that it calls; see :func:`reader_address`.
    as_stored
        Address of the reader that ``reader`` rearranges the values of; 0 if it rearranges none.
    context
        Address of the thread's working memory for the compressor.
    checksum
        Whether a CRC-32C follows each chunk; 0 or 1.
    big_endian
        Whether values are big-endian; 0 or 1.
    transposed
        Items per chunk if the chunk's first axis is stored last; 0 otherwise.
    size
        Bytes per value.
    chunk_bytes
        Bytes of a decoded chunk.
    encoded, room
        Address of scratch memory for encoded chunks, and its bytes.
    stored
        Address behind it, of scratch memory for a transposed chunk.
    decoded, capacity
        Address of the memory to decode into, and its bytes.
    fill, fill_bytes
        Address of the fill value, and its bytes; 0 if it is no allowed value.
    add_up
        Address of the function that adds up differences; 0 unless values are stored as such.
    within
        Address of the function that compares values with the limit; 0 unless ``limit`` is one.
    limit
        Bound that values must be below; -1 for none.
    """

    stretch: int
    reader: int
    as_stored: int
    context: int
    checksum: int
    big_endian: int
    transposed: int
    size: int
    chunk_bytes: int
    encoded: int
    room: int
    stored: int
    decoded: int
    capacity: int
    fill: int
    fill_bytes: int
    add_up: int
    within: int
    limit: int


DECODER: Any = types.NamedUniTuple(types.int64, len(ChunkDecoder._fields), ChunkDecoder)
"""The decoder's type in kernels."""

_SIGNATURE = types.UniTuple(types.int64, 2)(DECODER, *[types.int64] * 6)


read_by_address = caller(_SIGNATURE)
"""Call the reader at an address: ``read_by_address(address, decoder, to, fd, offset, nbytes, low, high)``.

Each reader reads the bytes ``low:high`` of a decoded chunk, and maybe more.

Parameters
----------
decoder
    How to decode the chunk.
to
    Address of the memory to decode into, of ``decoder.capacity`` bytes.
fd, offset, nbytes
    Where the chunk lies, as in :class:`~annbatch._kernels.decode.StoredChunks`.
low, high
    Bytes of the decoded chunk.

Returns
-------
tuple of int
    Where behind ``to`` the bytes begin, or an error; the number of bytes fetched.
"""


def _read_part(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    """Read a part of an uncompressed chunk, and nothing else."""
    if nbytes != decoder.chunk_bytes:
        return NOT_THE_CHUNK, 0
    return fetch(fd, to, high - low, offset + low), high - low


def _read_blosc_part(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    """Read the blocks of a Blosc chunk that are needed, and little else."""
    fetched = fetch_blocks(fd, offset, nbytes, low, high, decoder.chunk_bytes, decoder.encoded, decoder.room)
    if fetched < 0:
        return fetched, 0
    return decode_blosc(decoder.context, decoder.encoded, nbytes, low, high, to, decoder.capacity), fetched


def _read_whole(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    """Read an uncompressed chunk with a checksum."""
    n = _fetch_whole(decoder, fd, offset, nbytes)
    if n >= 0 and n != decoder.chunk_bytes:
        n = NOT_THE_CHUNK
    if n < 0:
        return n, nbytes
    memcpy(to, decoder.encoded + low, high - low)
    return 0, nbytes


def _read_blosc(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    n = _fetch_whole(decoder, fd, offset, nbytes)
    if n >= 0 and (n < HEADER or not is_blosc_chunk(decoder.encoded, n, decoder.chunk_bytes)):
        n = NOT_THE_CHUNK
    if n < 0:
        return n, nbytes
    return decode_blosc(decoder.context, decoder.encoded, n, low, high, to, decoder.capacity), nbytes


def _read_zstd(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    n, size = _fetch_whole(decoder, fd, offset, nbytes), decoder.chunk_bytes
    if n >= 0:
        n = low if decompress_zstd(decoder.context, decoder.encoded, n, high, size, to) else UNDECODABLE
    return n, nbytes


def _read_zlib(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    n, size = _fetch_whole(decoder, fd, offset, nbytes), decoder.chunk_bytes
    if n >= 0:
        n = low if decompress_zlib(decoder.context, decoder.encoded, n, high, size, to) else UNDECODABLE
    return n, nbytes


def _read_gzip(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    n, size = _fetch_whole(decoder, fd, offset, nbytes), decoder.chunk_bytes
    if n >= 0:
        n = low if decompress_gzip(decoder.context, decoder.encoded, n, high, size, to) else UNDECODABLE
    return n, nbytes


def _read_lz4(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    n, size = _fetch_whole(decoder, fd, offset, nbytes), decoder.chunk_bytes
    if n >= 0:
        n = low if decompress_lz4(decoder.context, decoder.encoded, n, high, size, to) else UNDECODABLE
    return n, nbytes


def _read_rearranged(
    decoder: ChunkDecoder, to: int, fd: int, offset: int, nbytes: int, low: int, high: int
) -> tuple[int, int]:
    """Read values that are big-endian, or whose first axis is stored last."""
    size = decoder.size
    if decoder.transposed:
        n = decoder.chunk_bytes
        begin, fetched = read_by_address(decoder.as_stored, decoder, decoder.stored, fd, offset, nbytes, 0, n)
        if begin > 0:
            begin = NOT_THE_CHUNK
        if begin == 0:
            copy_transposed(decoder.stored, n, decoder.transposed, low, high, size, to)
    else:
        begin, fetched = read_by_address(decoder.as_stored, decoder, to, fd, offset, nbytes, low, high)
    if decoder.big_endian and begin >= 0 and begin % size == 0:
        swap_bytes(to + begin, high - low, size)
    return begin, fetched


@inner
def _fetch_whole(decoder: ChunkDecoder, fd: int, offset: int, nbytes: int) -> int:
    """Fetch a chunk to ``decoder.encoded`` and check it; return its bytes without the checksum, or an error."""
    if nbytes > decoder.room or decoder.chunk_bytes > decoder.capacity:
        return NOT_THE_CHUNK
    status = fetch(fd, decoder.encoded, nbytes, offset)
    if status != DONE:
        return status
    if decoder.checksum:
        nbytes -= 4
        if nbytes < 0:
            return NOT_THE_CHUNK
        if crc32c(decoder.encoded, nbytes) != load(np.uint32, decoder.encoded + nbytes):
            return NOT_THE_CHECKSUM
    return nbytes


@inner
def copy_transposed(stored: int, n_bytes: int, n_items: int, low: int, high: int, size: int, to: int) -> None:
    """Copy the bytes ``low:high``, of values of ``size`` bytes, of a chunk whose first axis is stored last.

    ``n_items`` is the length of that axis.
    """
    n, first, n_out = n_bytes // size, low // size, (high - low) // size
    if size == 1:
        _copy_transposed(array_at(np.uint8, stored, n), n_items, first, array_at(np.uint8, to, n_out))
    elif size == 2:
        _copy_transposed(array_at(np.uint16, stored, n), n_items, first, array_at(np.uint16, to, n_out))
    elif size == 4:
        _copy_transposed(array_at(np.uint32, stored, n), n_items, first, array_at(np.uint32, to, n_out))
    else:
        _copy_transposed(array_at(np.uint64, stored, n), n_items, first, array_at(np.uint64, to, n_out))


@inner
def _copy_transposed(stored: np.ndarray, n_items: int, first: int, out: np.ndarray) -> None:
    """Copy values that lie together by 16, one for each of as many items: a cache line of most dtypes."""
    item = stored.size // n_items
    begin, stop = first // item, -(-(first + out.size) // item)
    for some in range(begin, stop, 16):
        for j in range(item):
            for i in range(some, min(some + 16, stop)):
                to = i * item + j - first
                if 0 <= to < out.size:
                    out[to] = stored[j * n_items + i]


@inner
def swap_bytes(to: int, n_bytes: int, size: int) -> None:
    """Reverse the bytes of each value of ``size`` bytes."""
    if size == 2:
        two = array_at(np.uint16, to, n_bytes // size)
        for i in range(two.size):
            two[i] = (two[i] >> 8) | (two[i] << 8)
    elif size == 4:
        four = array_at(np.uint32, to, n_bytes // size)
        for i in range(four.size):
            x = four[i]
            four[i] = (x >> 24) | ((x >> 8) & 0xFF00) | ((x << 8) & 0xFF0000) | (x << 24)
    elif size == 8:
        eight = array_at(np.uint64, to, n_bytes // size)
        for i in range(eight.size):
            x = eight[i]
            mask, other = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
            x = ((x >> np.uint64(8)) & mask) | ((x & mask) << np.uint64(8))
            x = ((x >> np.uint64(16)) & other) | ((x & other) << np.uint64(16))
            eight[i] = (x >> np.uint64(32)) | (x << np.uint64(32))


_READERS: dict[Any, Any] = {
    (PLAIN, False): _read_part,
    (BLOSC_CHUNK, False): _read_blosc_part,
    (PLAIN, True): _read_whole,
    (BLOSC_CHUNK, True): _read_blosc,
    (ZSTD, True): _read_zstd,
    (ZLIB, True): _read_zlib,
    (GZIP, True): _read_gzip,
    (LZ4, True): _read_lz4,
}


def reader_address(codec: int, *, whole: bool) -> int:
    """Return the address of the reader of stretches of a codec's chunks, compiled if need be.

    Parameters
    ----------
    codec
        Number of the compressor; see :mod:`~annbatch._kernels.contexts`.
    whole
        Whether a chunk is decoded from its beginning.
    """
    return address_of(_READERS[codec, whole], _SIGNATURE)


def rearranger_address() -> int:
    """Return the address of the reader that rearranges what ``decoder.as_stored`` reads, compiled if need be."""
    return address_of(_read_rearranged, _SIGNATURE)
