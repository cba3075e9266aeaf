"""Decompress chunks that begin with their first value and have no index: zstd, gzip, zlib and LZ4.

A chunk is decoded from its beginning, up to the last value that is needed where the library can stop there. What a
frame says about its size is compared with the chunk's before anything is decoded, and no memory is allocated for it.
"""

from __future__ import annotations

import numpy as np
from numba import types

from .clib import BLOSC, DEFLATE, function
from .contexts import GZIP, ZLIB, ZSTD
from .jit import inner

_BLOCK_BYTES = 128 << 10
"""Most bytes of a block of zstd."""

_size, _address = types.intp, types.uintp
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
def decompress(
    codec: int, context: int, source: np.ndarray, n_bytes: int, stop: int, chunk_bytes: int, out: np.ndarray
) -> bool:
    """Decode the bytes ``:stop`` of a chunk, and perhaps more.

    Parameters
    ----------
    codec
        Number of the compressor.
    context
        Address of the decoder's working memory.
    source, n_bytes
        Memory that begins with the encoded chunk, and its size.
    stop
        Bytes that are needed.
    chunk_bytes
        Bytes of the decoded chunk.
    out
        Memory for the decoded bytes.

    Returns
    -------
    bool
        Whether they were decoded, and the chunk, as far as it is known, has the right size.
    """
    if chunk_bytes > out.size:
        return False
    if codec == ZSTD:
        return _decompress_zstd(context, source, n_bytes, stop, chunk_bytes, out)
    at, to, working = np.uint64(source.ctypes.data), np.uint64(out.ctypes.data), np.uint64(context)
    if codec == ZLIB:
        return _zlib(working, at, n_bytes, to, chunk_bytes, np.uint64(0)) == 0
    if codec == GZIP:
        return _decompress_gzip(context, source, n_bytes, chunk_bytes, out)
    if n_bytes < 4 or np.int64(source[:4].view(np.int32)[0]) != chunk_bytes:
        return False
    size, room = np.int32(n_bytes - 4), np.int32(chunk_bytes)
    if stop == chunk_bytes:
        return _lz4_whole(at + np.uint64(4), to, size, room) == chunk_bytes
    return _lz4_part(at + np.uint64(4), to, size, np.int32(stop), room) >= stop


@inner
def _decompress_zstd(
    context: int, source: np.ndarray, n_bytes: int, stop: int, chunk_bytes: int, out: np.ndarray
) -> bool:
    at, to, working = np.uint64(source.ctypes.data), np.uint64(out.ctypes.data), np.uint64(context)
    content = _zstd_content(at, n_bytes)
    if content > chunk_bytes or content == -2:  # an error; -1 is unknown
        return False
    has_checksum = n_bytes > 4 and source[4] & 4
    if content != chunk_bytes or has_checksum or stop > chunk_bytes - _BLOCK_BYTES:
        return _zstd_whole(working, to, chunk_bytes, at, n_bytes) == chunk_bytes
    _zstd_begin(working)
    read, done = np.int64(0), np.int64(0)
    while done < stop:
        step = _zstd_next(working)
        if step <= 0 or step > n_bytes - read:
            return False
        got = _zstd_step(working, to + np.uint64(done), chunk_bytes - done, at + np.uint64(read), step)
        if got < 0 or got > chunk_bytes - done:
            return False
        read += step
        done += got
    return True


@inner
def _decompress_gzip(context: int, source: np.ndarray, n_bytes: int, chunk_bytes: int, out: np.ndarray) -> bool:
    """Decode the members of a gzip file, one after the other."""
    at, to, working = np.uint64(source.ctypes.data), np.uint64(out.ctypes.data), np.uint64(context)
    taken = np.zeros(2, np.int64)
    first, second = np.uint64(taken.ctypes.data), np.uint64(taken.ctypes.data + 8)
    read, done = np.int64(0), np.int64(0)
    while read < n_bytes:
        room = chunk_bytes - done
        if _gzip(working, at + np.uint64(read), n_bytes - read, to + np.uint64(done), room, first, second):
            return False
        read += taken[0]
        done += taken[1]
    return done == chunk_bytes
