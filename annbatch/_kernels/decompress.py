"""Decompress chunks that begin with their first value and have no index: zstd, gzip, zlib and LZ4.

A chunk is decoded from its beginning, up to the last value that is needed where the library can stop there. What a
frame says about its size is compared with the chunk's before anything is decoded, and no memory is allocated for it.

All take the same arguments and return whether the chunk was decoded, and has, as far as it is known, the right size:

context
    Address of the decoder's working memory.
source, n_bytes
    Address of the encoded chunk, and its size.
stop
    Bytes that are needed; more may be decoded.
chunk_bytes
    Bytes of the decoded chunk.
to
    Address of memory for all of it.
"""

from __future__ import annotations

import numpy as np
from numba import types

from .clib import BLOSC, DEFLATE, function
from .intrinsics import load
from .jit import inner

_BLOCK_BYTES = 128 << 10
"""Most bytes of a block of zstd."""

_size = _address = types.intp
_zstd_whole = function(BLOSC, "ZSTD_decompressDCtx", _size(_address, _address, _size, _address, _size))
_zstd_begin = function(BLOSC, "ZSTD_decompressBegin", _size(_address))
_zstd_next = function(BLOSC, "ZSTD_nextSrcSizeToDecompress", _size(_address))
_zstd_step = function(BLOSC, "ZSTD_decompressContinue", _size(_address, _address, _size, _address, _size))
_zstd_content = function(BLOSC, "ZSTD_getFrameContentSize", types.int64(_address, _size))
_lz4_whole = function(BLOSC, "LZ4_decompress_safe", types.intc(_address, _address, types.intc, types.intc))
_lz4_part = function(
    BLOSC, "LZ4_decompress_safe_partial", types.intc(_address, _address, types.intc, types.intc, types.intc)
)
_zlib = function(
    DEFLATE, "libdeflate_zlib_decompress", types.intc(_address, _address, _size, _address, _size, _address)
)
_gzip = function(
    DEFLATE,
    "libdeflate_gzip_decompress_ex",
    types.intc(_address, _address, _size, _address, _size, _address, _address),
)


@inner
def decompress_zstd(context: int, source: int, n_bytes: int, stop: int, chunk_bytes: int, to: int) -> bool:
    """Decode a chunk of zstd, a block at a time where blocks behind ``stop`` can be left out."""
    content = _zstd_content(source, n_bytes)
    if content > chunk_bytes or content == -2:  # an error; -1 is unknown
        return False
    has_checksum = n_bytes > 4 and load(np.uint8, source + 4) & 4
    if content != chunk_bytes or has_checksum or stop > chunk_bytes - _BLOCK_BYTES:
        return _zstd_whole(context, to, chunk_bytes, source, n_bytes) == chunk_bytes
    _zstd_begin(context)
    read = done = 0
    while done < stop:
        step = _zstd_next(context)
        if step <= 0 or step > n_bytes - read:
            return False
        got = _zstd_step(context, to + done, chunk_bytes - done, source + read, step)
        if got < 0 or got > chunk_bytes - done:
            return False
        read += step
        done += got
    return True


@inner
def decompress_zlib(context: int, source: int, n_bytes: int, stop: int, chunk_bytes: int, to: int) -> bool:
    """Decode a chunk of zlib."""
    return bool(_zlib(context, source, n_bytes, to, chunk_bytes, 0) == 0)


@inner
def decompress_gzip(context: int, source: int, n_bytes: int, stop: int, chunk_bytes: int, to: int) -> bool:
    """Decode the members of a gzip file, one after the other."""
    taken = np.zeros(2, np.int64)
    read = done = 0
    while read < n_bytes:
        first = taken.ctypes.data
        if _gzip(context, source + read, n_bytes - read, to + done, chunk_bytes - done, first, first + 8):
            return False
        read += taken[0]
        done += taken[1]
    return done == chunk_bytes


@inner
def decompress_lz4(context: int, source: int, n_bytes: int, stop: int, chunk_bytes: int, to: int) -> bool:
    """Decode a chunk of LZ4, whose size is in front of it."""
    if n_bytes < 4 or load(np.int32, source) != chunk_bytes:
        return False
    size, room = np.int32(n_bytes - 4), np.int32(chunk_bytes)
    if stop == chunk_bytes:
        return bool(_lz4_whole(source + 4, to, size, room) == chunk_bytes)
    return bool(_lz4_part(source + 4, to, size, np.int32(stop), room) >= stop)
