"""Read a stretch of a chunk to scratch memory: compiled once, for all dtypes.

Kernels that copy values are compiled per dtype. What they share, fetching and decoding, is no part of them: they call
it by its address, which costs nothing beside a ``pread``. A reader is compiled when an array first needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types

from .blosc_header import HEADER
from .clib import crc32c, memcpy
from .contexts import BLOSC_CHUNK, PLAIN
from .decompress import decompress
from .fetch import DONE, NOT_THE_CHECKSUM, NOT_THE_CHUNK, UNDECODABLE, decode_blosc, fetch, fetch_blocks, is_blosc_chunk
from .intrinsics import call_at, intrinsic
from .jit import inner

if TYPE_CHECKING:
    from typing import Any


class ChunkDecoder(NamedTuple):
    """How the chunks of one array are decoded, on one thread.

    Attributes
    ----------
    reader
        Address of the function that reads a stretch; see :func:`reader_address`.
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
    size
        Bytes per value.
    chunk_bytes
        Bytes of a decoded chunk.
    encoded, decoded
        Scratch memory, in bytes.
    stored_order
        Scratch memory for a transposed chunk, in bytes.
    """

    reader: int
    codec: int
    context: int
    whole: bool
    checksum: bool
    big_endian: bool
    transposed: int
    size: int
    chunk_bytes: int
    encoded: np.ndarray
    decoded: np.ndarray
    stored_order: np.ndarray


@inner
def read_part(decoder: ChunkDecoder, fd: int, offset: int, nbytes: int, low: int, high: int) -> tuple[int, int]:
    """Read the bytes ``low:high`` of an uncompressed or a Blosc chunk, and little else.

    Parameters
    ----------
    decoder
        How to decode it.
    fd, offset, nbytes
        Where the chunk lies, as in :class:`~annbatch._kernels.decode.StoredChunks`.
    low, high
        Bytes of the decoded chunk.

    Returns
    -------
    tuple of int
        Where in ``decoder.decoded`` the bytes begin, or an error; the number of bytes fetched.
    """
    chunk_bytes = decoder.chunk_bytes
    if decoder.codec == PLAIN:
        if nbytes != chunk_bytes:
            return NOT_THE_CHUNK, 0
        return fetch(fd, decoder.decoded, 0, high - low, offset + low), high - low
    fetched = fetch_blocks(fd, offset, nbytes, low, high, chunk_bytes, decoder.encoded)
    if fetched < 0:
        return fetched, 0
    return decode_blosc(decoder.context, decoder.encoded, nbytes, low, high, decoder.decoded), fetched


@inner
def read_whole(decoder: ChunkDecoder, fd: int, offset: int, nbytes: int, low: int, high: int) -> tuple[int, int]:
    """Fetch a chunk, check it and decode it, at least its bytes ``low:high``; as :func:`read_part`."""
    return decode_whole(decoder, decoder.decoded, fd, offset, nbytes, low, high), nbytes


@inner
def read_rearranged(decoder: ChunkDecoder, fd: int, offset: int, nbytes: int, low: int, high: int) -> tuple[int, int]:
    """Read values that are big-endian, or whose first axis is stored last; as :func:`read_part`."""
    fetched, size, decoded = nbytes, decoder.size, decoder.decoded
    if decoder.transposed:
        stored = decoder.stored_order
        begin = decode_whole(decoder, stored, fd, offset, nbytes, 0, decoder.chunk_bytes)
        if begin > 0:
            begin = NOT_THE_CHUNK
        if begin == 0:
            stored, out = stored[: decoder.chunk_bytes], decoded[: high - low]
            copy_transposed(stored, decoder.transposed, low // size, size, out)
    elif decoder.whole:
        begin = decode_whole(decoder, decoded, fd, offset, nbytes, low, high)
    else:
        begin, fetched = read_part(decoder, fd, offset, nbytes, low, high)
    if decoder.big_endian and begin >= 0 and begin % size == 0:
        swap_bytes(decoded[begin : begin + high - low], size)
    return begin, fetched


@inner
def decode_whole(decoder: ChunkDecoder, out: np.ndarray, fd: int, offset: int, nbytes: int, low: int, high: int) -> int:
    """Fetch a chunk, check it and decode it to ``out``; return where its bytes ``low:high`` begin, or an error."""
    encoded, chunk_bytes = decoder.encoded, decoder.chunk_bytes
    if nbytes > encoded.size:
        return NOT_THE_CHUNK
    status = fetch(fd, encoded, 0, nbytes, offset)
    if status != DONE:
        return status
    if decoder.checksum:
        nbytes -= 4
        if nbytes < 0:
            return NOT_THE_CHUNK
        stated = np.uint32(0)
        for i in range(4):
            stated |= np.uint32(encoded[nbytes + i]) << np.uint32(8 * i)
        if crc32c(np.uint64(encoded.ctypes.data), np.uint64(nbytes)) != stated:
            return NOT_THE_CHECKSUM
    if decoder.codec == PLAIN:
        if nbytes != chunk_bytes:
            return NOT_THE_CHUNK
        memcpy(np.uint64(out.ctypes.data), np.uint64(encoded.ctypes.data + low), np.uint64(high - low))
        return 0
    if decoder.codec == BLOSC_CHUNK:
        if nbytes < HEADER or not is_blosc_chunk(encoded, nbytes, chunk_bytes):
            return NOT_THE_CHUNK
        return decode_blosc(decoder.context, encoded, nbytes, low, high, out)
    if not decompress(decoder.codec, decoder.context, encoded, nbytes, high, chunk_bytes, out):
        return UNDECODABLE
    return low


@inner
def copy_transposed(stored: np.ndarray, n_items: int, first: int, size: int, out: np.ndarray) -> None:
    """Copy values of ``size`` bytes from number ``first`` of a chunk to ``out``; its first axis is stored last.

    ``n_items`` is the length of that axis.
    """
    if size == 1:
        _copy_transposed(stored, n_items, first, out)
    elif size == 2:
        _copy_transposed(stored.view(np.uint16), n_items, first, out.view(np.uint16))
    elif size == 4:
        _copy_transposed(stored.view(np.uint32), n_items, first, out.view(np.uint32))
    else:
        _copy_transposed(stored.view(np.uint64), n_items, first, out.view(np.uint64))


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


@intrinsic
def read_by_address(typing: Any, decoder: Any, fd: Any, offset: Any, nbytes: Any, low: Any, high: Any) -> Any:
    """Call ``decoder.reader``, which takes these arguments."""
    if decoder != _SIGNATURE.args[0]:
        raise nb.TypingError(f"a reader takes {_SIGNATURE.args[0]}, got {decoder}")

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return call_at(context, builder, _SIGNATURE, builder.extract_value(arguments[0], 0), arguments)

    return _SIGNATURE, generate


_no_bytes = np.empty(0, np.uint8)
_SIGNATURE = types.UniTuple(types.int64, 2)(
    nb.typeof(ChunkDecoder(0, 0, 0, False, False, False, 0, 0, 0, _no_bytes, _no_bytes, _no_bytes)),
    *[types.int64] * 5,
)
_compiled: dict[Any, Any] = {}


def reader_address(*, whole: bool, rearranged: bool) -> int:
    """Return the address of the function that reads stretches, compiled if need be.

    Parameters
    ----------
    whole
        Whether a chunk is decoded from its beginning.
    rearranged
        Whether values are big-endian or transposed.
    """
    reader: Any = read_rearranged if rearranged else read_whole if whole else read_part
    if reader not in _compiled:  # threads that come together find it in numba's cache, behind numba's own lock
        _compiled[reader] = nb.cfunc(_SIGNATURE, cache=True)(reader.py_func)
    return int(_compiled[reader].address)
