"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` fetches the part of a chunk that is needed, a codec decodes it
to scratch memory that stays in the core's cache, and each row fragment is copied to the batch, cast on the way. There
is no second pass.

Compiling takes longer than reading the first window. Everything here is therefore compiled once; of what the dtypes
decide, kernels call functions of a few lines by their addresses.
"""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import numpy as np
from numba import types

from .chunk_readers import DECODER, ChunkDecoder, read_by_address
from .copy import LARGE, LONG, copy_by_address, fence, prefetch
from .differences import add_up_by_address
from .fetch import DONE, NOT_THE_CHUNK, OUT_OF_RANGE
from .intrinsics import array_at, borrowed, caller
from .jit import address_of, inner, kernel

Fields: TypeAlias = tuple[np.ndarray, ...]


class StoredChunks(NamedTuple):
    """Chunks of one array, as kernels read them on one thread.

    A named tuple costs 1.6 us more per call of a kernel than a plain one (3.9 instead of 2.2), and a call reads for
    milliseconds.

    Attributes
    ----------
    decoder
        How they are decoded.
    fd, offset, nbytes
        ``(n_reads,)`` int64: file descriptor, offset and size of the chunk of each read. An ``fd`` of -1 makes
        ``offset`` an address; an ``offset`` of -1 is a chunk that was never written.
    before
        ``(n_reads,)`` int64 value before each read's first one, where values are stored as differences.
    chunk
        Elements per chunk.
    encoded
        The memory at ``decoder.encoded``, which lives as long as this.
    values
        The memory at ``decoder.decoded``, in the array's dtype; in bytes for :func:`read_pieces`.
    """

    decoder: ChunkDecoder
    fd: np.ndarray
    offset: np.ndarray
    nbytes: np.ndarray
    before: np.ndarray
    chunk: int
    encoded: np.ndarray
    values: np.ndarray


_STRETCH = types.UniTuple(types.int64, 2)(DECODER, *[types.int64] * 6)
_stretch_by_address = caller(_STRETCH)


def _read_stretch(
    decoder: ChunkDecoder, fd: int, offset: int, nbytes: int, low: int, high: int, before: int
) -> tuple[int, int]:
    """Read the bytes ``low:high`` of a chunk and check the values.

    Returns where behind ``decoder.decoded`` they begin, or an error; and the bytes fetched.
    """
    if offset < 0:
        if not decoder.fill:
            return OUT_OF_RANGE, 0
        value = array_at(np.uint8, decoder.fill, decoder.fill_bytes)
        out = array_at(np.uint8, decoder.decoded, high - low)
        for i in range(out.size):
            out[i] = value[i % value.size]
        return 0, 0
    begin, fetched = read_by_address(decoder.reader, decoder, decoder.decoded, fd, offset, nbytes, low, high)
    if begin < 0:
        return begin, fetched
    if begin % decoder.size:  # the chunk's items are not those of the metadata
        return NOT_THE_CHUNK, fetched
    values, ok = decoder.decoded + begin, True
    if decoder.add_up:
        ok = add_up_by_address(decoder.add_up, values, high - low, before, decoder.limit)
    elif decoder.within:
        ok = _within_by_address(decoder.within, values, high - low, decoder.limit)
    return begin if ok else OUT_OF_RANGE, fetched


def stretch_address() -> int:
    """Return the address of the function that reads a stretch, compiled if need be."""
    return address_of(_read_stretch, _STRETCH)


_WITHIN = types.boolean(types.int64, types.int64, types.int64)
_within_by_address = caller(_WITHIN)


@functools.cache
def within_address(dtype: np.dtype) -> int:
    """Return the address of a function that returns whether all values are at least 0 and below a limit.

    A damaged column number would become a wrong address later. Finding the extremes vectorizes, and costs a fraction of
    the copy that follows.
    """
    kind = dtype.type

    def within(address: int, n_bytes: int, limit: int) -> bool:
        values = array_at(kind, address, n_bytes // dtype_bytes)
        smallest = largest = values[0]
        for j in range(values.size):
            smallest, largest = min(smallest, values[j]), max(largest, values[j])
        return smallest >= 0 and largest < limit

    dtype_bytes = dtype.itemsize
    return address_of(within, _WITHIN)


@inner
def read_stretch(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int]:
    """Read stretch ``r`` to memory and check its values.

    Parameters
    ----------
    array
        The array's chunks.
    reads
        The fields of :class:`~annbatch._arrays.read_plan.Reads`.

    Returns
    -------
    tuple of int
        Where behind ``array.decoder.decoded`` they begin, in bytes, or an error; the bytes fetched.
    """
    decoder = array.decoder
    chunk_of, start, stop, _ = reads
    origin, size = chunk_of[r] * array.chunk, decoder.size
    low, high = (start[r] - origin) * size, (stop[r] - origin) * size
    before = array.before[r] if decoder.add_up else 0
    return _stretch_by_address(
        decoder.stretch, decoder, array.fd[r], array.offset[r], array.nbytes[r], low, high, before
    )


@inner
def read_values(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int, np.ndarray]:
    """Read stretch ``r`` as :func:`read_stretch`; return ``DONE`` or an error, the bytes fetched, and the values."""
    _, start, stop, _ = reads
    values = borrowed(array.values)
    begin, fetched = read_stretch(array, reads, r)
    if begin < 0:
        return begin, fetched, values[:0]
    first = begin // array.decoder.size
    return DONE, fetched, values[first : first + stop[r] - start[r]]


@kernel
def read_pieces(
    array: StoredChunks,
    reads: Fields,
    pieces: Fields,
    copier: int,
    items: int,
    size: int,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches of one array and copy their pieces to ``out``, casting.

    Parameters
    ----------
    array, reads
        As for :func:`read_stretch`.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces, in elements.
    copier
        Address of :func:`~annbatch._kernels.copy.copy_address` for the cast.
    items
        Items that the copier counts per element: its bytes, if it copies bytes.
    size
        Bytes per element of ``out``.
    out
        Bytes.

    Returns
    -------
    tuple of int
        ``DONE`` or an error; the number of the stretch with the error; bytes fetched.
    """
    _, low, high, piece = reads
    start, length, dest = pieces
    large, long, target, total = out.size >= LARGE, LONG // size, out.ctypes.data, 0
    for r in range(low.size):
        begin, fetched = read_stretch(array, reads, r)
        if begin < 0:
            fence()
            return begin, r, total
        total += fetched
        values = array.decoder.decoded + begin
        i = piece[r]
        while i < start.size and start[i] < high[r]:
            a, b = max(start[i], low[r]), min(start[i] + length[i], high[r])
            source, to = values + (a - low[r]) * array.decoder.size, target + (dest[i] + a - start[i]) * size
            i += 1
            if i < start.size and length[i] < long:
                prefetch(target + dest[i] * size)
            copy_by_address(copier, source, to, (b - a) * items, large and b - a >= long)
    fence()
    return DONE, 0, total
