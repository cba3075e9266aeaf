"""Encodes Blosc chunks whose blocks are small enough to decode a row without its neighbours.

Blosc itself makes blocks of at least 64 KB of LZ4, whatever block size it is asked for: it compresses each byte of the
items as a stream of its own, and enlarges blocks to suit. The format knows blocks that are not split, of any size, and
every Blosc since 1.14 reads them. A row of 1,600 uint16 counts takes 6-8 us to decode from blocks of 8 KB, and 22-25 us
from those of 64 KB.

The format, as ``README_CHUNK_FORMAT`` of c-blosc 1 describes it: 16 bytes of header (version 2, version of LZ4's
format, flags, typesize; as int32 the size of the decoded chunk, of a block, of the encoded chunk), then where each
block begins as int32, then the blocks: each its encoded size as int32 and its bytes, shuffled and compressed, or just
shuffled where that is no larger. A chunk that does not shrink is stored as it is, behind a header that says so.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numba as nb
import numpy as np
from numba import types

from .clib import symbol

if TYPE_CHECKING:
    from typing import Any

SHUFFLED, STORED, UNSPLIT, LZ4 = 0x01, 0x02, 0x10, 0x20
HEADER = 16

_HC_LEVEL = 2
"""The fast one of LZ4HC's levels ("mid"): counts shrink by a quarter more than by LZ4 and decode 1.6x as fast, for 0.6x
the speed of encoding. Column numbers gain little from it and encode 6x slower: they are left to LZ4."""

_compress = types.ExternalFunction(
    "LZ4_compress_fast", types.intc(types.uintp, types.uintp, types.intc, types.intc, types.intc)
)
_compress_hc = types.ExternalFunction(
    "LZ4_compress_HC_extStateHC_fastReset",
    types.intc(types.uintp, types.uintp, types.uintp, types.intc, types.intc, types.intc),
)
_shuffle = types.ExternalFunction("blosc2_shuffle", types.intc(types.int32, types.int32, types.uintp, types.uintp))
_HC_STATE_BYTES = symbol("LZ4_sizeofStateHC")()

_local = threading.local()


@nb.njit(nogil=True, cache=True)
def encode_chunk(
    chunk: np.ndarray, typesize: int, block_size: int, hc_state: np.ndarray, shuffled: np.ndarray, out: np.ndarray
) -> int:
    """Encode a chunk.

    Parameters
    ----------
    chunk
        Its bytes.
    typesize
        Bytes an item; 1 is not shuffled.
    block_size
        Bytes a block.
    hc_state
        Memory for LZ4HC; empty for plain LZ4.
    shuffled
        ``(block_size,)`` scratch.
    out
        At least 16 bytes longer than ``chunk``.

    Returns
    -------
    int
        Bytes of ``out`` that are the encoded chunk.
    """
    n_blocks = -(-chunk.size // block_size)
    words = out[: HEADER + 4 * n_blocks].view(np.int32)
    at = HEADER + 4 * n_blocks
    flags = UNSPLIT | LZ4 | (SHUFFLED if typesize > 1 else 0)
    for b in range(n_blocks):
        block = chunk[b * block_size : min(chunk.size, (b + 1) * block_size)]
        n = block.size
        if typesize > 1:
            _shuffle(np.int32(typesize), np.int32(n), np.uint64(block.ctypes.data), np.uint64(shuffled.ctypes.data))
            block = shuffled[:n]
        if at + 4 + n > chunk.size + HEADER:
            at = chunk.size + HEADER + 1
            break
        words[4 + b] = at
        source, target, room = block.ctypes.data, out.ctypes.data + at + 4, n - 1
        if hc_state.size:
            state = np.uint64(hc_state.ctypes.data)
            size = _compress_hc(state, np.uint64(source), np.uint64(target), np.int32(n), np.int32(room), _HC_LEVEL)
        else:
            size = _compress(np.uint64(source), np.uint64(target), np.int32(n), np.int32(room), np.int32(1))
        if size <= 0:
            size = n
            out[at + 4 : at + 4 + n] = block
        for byte in range(4):
            out[at + byte] = (size >> (8 * byte)) & 0xFF
        at += 4 + size
    if at > chunk.size + HEADER:
        flags = STORED | LZ4 | UNSPLIT
        at = HEADER + chunk.size
        out[HEADER:at] = chunk
    out[0], out[1], out[2], out[3] = 2, 1, flags, typesize
    words[1], words[2], words[3] = chunk.size, min(block_size, chunk.size), at
    return at


def encode(values: np.ndarray, *, block_size: int, high: bool) -> np.ndarray:
    """Return values as a Blosc chunk, ``(n_bytes,)`` uint8 in memory of its own.

    Parameters
    ----------
    values
        C-contiguous; not empty.
    block_size
        Bytes a block.
    high
        Whether to compress by LZ4HC.
    """
    chunk = values.reshape(-1).view(np.uint8)
    out = np.empty(chunk.size + HEADER + 64, dtype=np.uint8)
    state, shuffled = _scratch(block_size)
    size = encode_chunk(chunk, values.itemsize, block_size, state if high else state[:0], shuffled, out)
    return out[:size]


def _scratch(block_size: int) -> Any:
    """Return this thread's memory for LZ4HC, aligned as it must be, and for a shuffled block."""
    if not hasattr(_local, "state"):
        from .._runtime.buffers import allocate_aligned

        _local.state = allocate_aligned(_HC_STATE_BYTES)
        _local.state[:] = 0
        symbol("LZ4_initStreamHC")(_local.state.ctypes.data, _HC_STATE_BYTES)
        _local.shuffled = allocate_aligned(block_size)
    if _local.shuffled.size < block_size:
        _local.shuffled = np.empty(block_size, dtype=np.uint8)
    return _local.state, _local.shuffled[:block_size]
