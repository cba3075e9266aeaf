"""Encode Blosc chunks in blocks small enough to decode a row without its neighbours.

A row of 1,600 uint16 counts takes 6-8 us to decode from blocks of 8 KB, and 22-25 us from blocks of 64 KB, the smallest
that Blosc makes of LZ4 by default: it splits a block into one stream per byte of the items, and enlarges it to suit.

c-blosc2 does write blocks of 8 KB when told never to split them. But ``blosc1_compress`` takes a global lock, and split
mode, block size and compressor are settings of the whole process, for every other user of Blosc in it. Two threads
together encode 570 MB/s of counts through it and 920 MB/s here; one thread, 600 MB/s either way (c-blosc2 3.3, two Xeon
cores). An environment variable makes it write the header of Blosc 1, still with a version that zarr's codec refuses.
``blosc2_compress_ctx``, which takes no lock, always writes the header of Blosc 2. In c-blosc 1, which numcodecs brings,
the split mode is a setting of the process, too, and numcodecs has no function for it.

A chunk that does not shrink is stored uncompressed. In others, each block is its encoded size as int32, then its bytes:
shuffled and compressed, or only shuffled if that is no larger.
"""

from __future__ import annotations

import ctypes
import threading
from functools import partial
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np
from numba import types

from .._runtime.buffers import allocate_aligned, thread_memory
from .._warn import warn
from .blosc_header import HEADER, LZ4, SHUFFLED, STORED, UNSPLIT, VERSION
from .clib import BLOSC, CRC32C, crc32c
from .jit import inner, kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

CHECKSUM_BYTES = 4

_HC_LEVEL = 2
"""The fast one of LZ4HC's levels ("mid"): counts shrink by a quarter more than by LZ4 and decode 1.6x as fast, for 0.6x
the speed of encoding. Column numbers gain little from it and encode 6x slower: they use LZ4."""

_compress = types.ExternalFunction(
    "LZ4_compress_fast", types.intc(types.uintp, types.uintp, types.intc, types.intc, types.intc)
)
_compress_hc = types.ExternalFunction(
    "LZ4_compress_HC_extStateHC_fastReset",
    types.intc(types.uintp, types.uintp, types.uintp, types.intc, types.intc, types.intc),
)
_shuffle = types.ExternalFunction("blosc2_shuffle", types.intc(types.int32, types.int32, types.uintp, types.uintp))

_FUNCTIONS = _compress.symbol, _compress_hc.symbol, _shuffle.symbol, "LZ4_sizeofStateHC", "LZ4_initStreamHC"
_AVAILABLE = BLOSC is not None and all(hasattr(BLOSC, name) for name in _FUNCTIONS)
if BLOSC is not None and not _AVAILABLE:
    warn(
        "The Blosc library exports no LZ4: chunks are written through numcodecs, in larger blocks, from which single "
        "rows are read more slowly. `pip install blosc2` installs one that does.",
    )

_local = threading.local()
_fresh = partial(np.empty, dtype=np.uint8)


@inner
def _encode_chunk(
    chunk: np.ndarray, typesize: int, block_size: int, hc_state: np.ndarray, shuffled: np.ndarray, out: np.ndarray
) -> int:
    """Encode a chunk.

    Parameters
    ----------
    chunk
        Bytes of the chunk.
    typesize
        Bytes per item; 1 is not shuffled.
    block_size
        Bytes per block.
    hc_state
        State of LZ4HC; empty for plain LZ4.
    shuffled
        ``(block_size,)`` scratch memory.
    out
        At least 16 bytes longer than ``chunk``.

    Returns
    -------
    int
        Bytes of the encoded chunk, at the beginning of ``out``.
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
    out[0], out[1], out[2], out[3] = VERSION, 1, flags, typesize
    words[1], words[2], words[3] = chunk.size, min(block_size, chunk.size), at
    return at


@kernel
def encode_chunks(
    chunks: np.ndarray,
    typesize: int,
    block_size: int,
    hc_state: np.ndarray,
    shuffled: np.ndarray,
    encoded: np.ndarray,
    checksums: bool,
    out: np.ndarray,
    sizes: np.ndarray,
) -> int:
    """Encode chunks one behind the other: a call from Python per chunk would mostly wait for the GIL.

    Parameters
    ----------
    chunks
        ``(n, n_bytes)`` bytes of the chunks.
    typesize, block_size, hc_state, shuffled
        As of :func:`_encode_chunk`.
    encoded
        Scratch memory for an encoded chunk, aligned to int32.
    checksums
        Whether the CRC-32C of each chunk follows it.
    out
        Memory for all encoded chunks.
    sizes
        ``(n,)`` int64 for their sizes.

    Returns
    -------
    int
        Bytes of all encoded chunks.
    """
    at = 0
    for i in range(len(chunks)):
        n = _encode_chunk(chunks[i], typesize, block_size, hc_state, shuffled, encoded)
        if checksums:
            checksum = np.uint32(crc32c(encoded.ctypes.data, n))
            for byte in range(CHECKSUM_BYTES):
                encoded[n + byte] = (checksum >> np.uint32(8 * byte)) & np.uint32(0xFF)
            n += CHECKSUM_BYTES
        out[at : at + n] = encoded[:n]
        sizes[i] = n
        at += n
    return at


def encode(
    chunks: np.ndarray,
    *,
    block_size: int,
    high: bool,
    checksums: bool = False,
    empty: Callable[[int], np.ndarray] = _fresh,
) -> tuple[np.ndarray, np.ndarray]:
    """Return values as Blosc chunks.

    Parameters
    ----------
    chunks
        ``(n, ...)``, C-contiguous: the values of each chunk; not empty.
    block_size
        Bytes per block.
    high
        Whether to compress by LZ4HC.
    checksums
        Whether the CRC-32C of each chunk follows it.
    empty
        Returns undefined bytes.

    Returns
    -------
    numpy.ndarray
        The encoded chunks, one behind the other, uint8.
    numpy.ndarray
        ``(n,)`` int64 size of each, its checksum included.
    """
    if not _AVAILABLE:
        from numcodecs.blosc import Blosc

        blosc = Blosc("lz4hc" if high else "lz4", _HC_LEVEL if high else 5, Blosc.SHUFFLE, block_size)
        return joined([blosc.encode(chunk.reshape(-1)) for chunk in chunks], checksums=checksums)
    flat = chunks.reshape(len(chunks), -1).view(np.uint8)
    room = flat.shape[1] + HEADER + CHECKSUM_BYTES
    out, sizes = empty(len(flat) * room), np.empty(len(flat), np.int64)
    state, shuffled, encoded = _scratch(block_size, room)
    state = state if high else state[:0]
    in_kernel = checksums and CRC32C is not None
    n = encode_chunks(flat, chunks.itemsize, block_size, state, shuffled, encoded, in_kernel, out, sizes)
    if checksums and not in_kernel:
        return joined(np.split(out[:n], np.cumsum(sizes)[:-1]), checksums=True)
    return out[:n], sizes


def joined(chunks: Sequence[Any], *, checksums: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return encoded chunks as :func:`encode` does."""
    parts = [np.frombuffer(chunk, np.uint8) for chunk in chunks]
    sizes = np.array([len(part) for part in parts])
    if checksums:
        values = [np.array([google_crc32c.value(part)], "<u4").view(np.uint8) for part in parts]
        parts, sizes = [one for pair in zip(parts, values, strict=True) for one in pair], sizes + CHECKSUM_BYTES
    return np.concatenate(parts), sizes


def _scratch(block_size: int, room: int) -> Any:
    """Return this thread's aligned memory for the state of LZ4HC, a shuffled block and an encoded chunk."""
    if not hasattr(_local, "state"):
        _local.state = allocate_aligned(BLOSC.LZ4_sizeofStateHC(), zeroed=True)
        BLOSC.LZ4_initStreamHC(ctypes.c_void_p(_local.state.ctypes.data), ctypes.c_size_t(_local.state.nbytes))
    return _local.state, thread_memory("shuffled", block_size)[:block_size], thread_memory("to write", room)[:room]
