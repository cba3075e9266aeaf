"""Parts of Blosc chunks, compared with slices of the values."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from numcodecs.blosc import Blosc

from annbatch._kernels.contexts import BLOSC_CHUNK, context
from annbatch._kernels.encode import encode
from annbatch._kernels.fetch import decode_blosc


@nb.njit
def first_wrong(blosc: int, encoded: np.ndarray, nbytes: int, values: np.ndarray, out: np.ndarray) -> tuple[int, int]:
    """Decode every range of a chunk; return the first that is not that of its values, or 0, 0."""
    size, n = values.itemsize, values.size
    expected = values.view(np.uint8)
    for start in range(n):
        for stop in range(start + 1, n + 1):
            begin = decode_blosc(
                blosc, encoded.ctypes.data, nbytes, start * size, stop * size, out.ctypes.data, out.nbytes
            )
            if begin < 0 or not np.array_equal(
                out[begin : begin + (stop - start) * size], expected[start * size : stop * size]
            ):
                return start, stop
    return 0, 0


@pytest.mark.parametrize("n", [64, 150, 161], ids=["whole blocks", "a shorter last block", "an odd last block"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64"])
@pytest.mark.parametrize("by", ["annbatch", "numcodecs"])
def test_any_range_of_a_chunk(n: int, dtype: str, by: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, n).astype(dtype)
    block = 32 * values.itemsize
    if by == "annbatch":
        chunk, _ = encode(values[None], block_size=block, high=False)
    else:
        chunk = np.frombuffer(Blosc("blosclz", 5, Blosc.SHUFFLE, block).encode(values), np.uint8)
    encoded = np.zeros(-(-chunk.size // 64) * 64, np.uint8)
    encoded[: chunk.size] = chunk
    out = np.empty(values.nbytes + 1024, np.uint8)
    assert first_wrong(context(BLOSC_CHUNK), encoded, chunk.size, values, out) == (0, 0)
