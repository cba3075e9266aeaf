"""Fetch, decode and scatter in native code: from a chunk on disk straight to the finished batch.

One call reads many stretches without the GIL: ``pread`` fetches the part of a chunk that is needed, a codec decodes it
to scratch memory that stays in the core's cache, and each row fragment is copied to the batch, cast on the way. There
is no second pass.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from .chunk_readers import ChunkDecoder, read_by_address
from .copy import LARGE, LONG, copy, fence, prefetch
from .differences import add_up_by_address
from .fetch import DONE, NOT_THE_CHUNK, OUT_OF_RANGE
from .intrinsics import borrowed
from .jit import inner, kernel

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
    chunk
        Elements per chunk.
    fill
        Bytes of the fill value.
    values
        ``decoder.decoded`` as values: of the array's dtype or, to copy them as they are, as bytes.
    add_up
        Address of :func:`~annbatch._kernels.differences.add_up`; 0 unless values are stored as differences.
    before
        ``(n_reads,)`` int64 value before each read's first one, for ``add_up``.
    limit
        Bound that values must be below; -1 for none.
    """

    decoder: ChunkDecoder
    fd: np.ndarray
    offset: np.ndarray
    nbytes: np.ndarray
    chunk: int
    fill: np.ndarray
    values: np.ndarray
    add_up: int
    before: np.ndarray
    limit: int


@inner
def read_stretch(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int]:
    """Read stretch ``r`` to memory; return where in ``array.decoder.decoded``, or an error, and the bytes fetched.

    Parameters
    ----------
    array
        The array's chunks.
    reads
        The fields of :class:`~annbatch._arrays.read_plan.Reads`.
    """
    decoder = array.decoder
    chunk_of, start, stop, _ = reads
    origin = chunk_of[r] * array.chunk
    low, high = (start[r] - origin) * decoder.size, (stop[r] - origin) * decoder.size
    if array.offset[r] < 0:
        for i in range(high - low):
            decoder.decoded[i] = array.fill[i % array.fill.size]
        return 0, 0
    begin, fetched = read_by_address(decoder, array.fd[r], array.offset[r], array.nbytes[r], low, high)
    if array.add_up and begin >= 0:
        if begin % decoder.size:
            return NOT_THE_CHUNK, fetched
        differences = decoder.decoded[begin : begin + high - low]
        if not add_up_by_address(array.add_up, differences, array.before[r], array.limit):
            return OUT_OF_RANGE, fetched
    return begin, fetched


@inner
def within(values: np.ndarray, limit: int) -> bool:
    """Return whether all values are at least 0 and below ``limit``.

    A damaged column number would become a wrong address later. Finding the extremes vectorizes, and costs a fraction of
    the copy that follows.
    """
    smallest = largest = values[0]
    for j in range(values.size):
        smallest, largest = min(smallest, values[j]), max(largest, values[j])
    return smallest >= 0 and largest < limit


@inner
def read_values(array: StoredChunks, reads: Fields, r: int) -> tuple[int, int, np.ndarray]:
    """Read stretch ``r`` and check its values; return ``DONE`` or an error, the bytes fetched, and the values."""
    _, start, stop, _ = reads
    values = borrowed(array.values)
    begin, fetched = read_stretch(array, reads, r)
    if begin < 0:
        return begin, fetched, values[:0]
    if begin % array.decoder.size:  # the chunk's items are not those of the metadata
        return NOT_THE_CHUNK, fetched, values[:0]
    first, per_element = begin // values.itemsize, array.decoder.size // values.itemsize
    values = values[first : first + (stop[r] - start[r]) * per_element]
    added_up = array.add_up and array.offset[r] >= 0  # and compared with the limit
    if array.limit >= 0 and not added_up and not within(values, array.limit):
        return OUT_OF_RANGE, fetched, values
    return DONE, fetched, values


@kernel
def read_pieces(array: StoredChunks, reads: Fields, pieces: Fields, out: np.ndarray) -> tuple[int, int, int]:
    """Read stretches of one array and copy their pieces to ``out``, casting.

    Parameters
    ----------
    array, reads
        As for :func:`read_stretch`.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces, in elements.
    out
        Flat, of the dtype to cast to; bytes where ``array.values`` are.

    Returns
    -------
    tuple of int
        ``DONE`` or an error; the number of the stretch with the error; bytes fetched.
    """
    _, low, high, piece = reads
    start, length, dest = pieces
    n = array.decoder.size // array.values.itemsize
    large, long = out.nbytes >= LARGE, LONG // (out.itemsize * n)
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
            to = out[(dest[i] + a - start[i]) * n : (dest[i] + b - start[i]) * n]
            i += 1
            if i < start.size and length[i] < long:
                prefetch(out, dest[i] * n)
            copy(values[(a - low[r]) * n : (b - low[r]) * n], to, large and b - a >= long)
    fence()
    return DONE, 0, total
