"""Our Blosc chunks are Blosc chunks: decoded by c-blosc 1 (numcodecs) and c-blosc 2, whole and in part."""

from __future__ import annotations

import blosc2
import google_crc32c
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs.blosc import Blosc

from annbatch._kernels.encode import encode


def values(kind: str, n: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(n)
    if kind == "counts":
        return rng.poisson(1, n).astype(dtype)
    if kind == "noise":
        return rng.integers(0, 256, n * np.dtype(dtype).itemsize, dtype="uint8").view(dtype)
    return np.zeros(n, dtype)


@given(
    kind=st.sampled_from(["counts", "noise", "zeros"]),
    n=st.integers(1, 20_000),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32", "float64"]),
    block_size=st.sampled_from([256, 1000, 8192, 65536]),
    high=st.booleans(),
)
def test_decoded_by_blosc_1_and_2(kind: str, n: int, dtype: str, block_size: int, high: bool) -> None:
    array = values(kind, n, dtype)
    chunk, _ = encode(array[None], block_size=block_size, high=high)

    assert bytes(Blosc().decode(bytes(chunk))) == array.tobytes()
    assert blosc2.decompress(bytes(chunk)) == array.tobytes()


def test_a_chunk_that_does_not_shrink_grows_by_its_header_only() -> None:
    array = values("noise", 50_000, "uint8")
    chunk, sizes = encode(array[None], block_size=8192, high=False)
    assert [len(chunk), *sizes] == [50_000 + 16] * 2


def test_chunks_encoded_together_are_those_encoded_alone() -> None:
    chunks = np.stack([values(kind, 5_001, "uint16") for kind in ("counts", "noise", "zeros")])
    alone = [bytes(encode(chunk[None], block_size=256, high=True)[0]) for chunk in chunks]
    together, sizes = encode(chunks, block_size=256, high=True)
    assert bytes(together) == b"".join(alone)
    assert sizes.tolist() == list(map(len, alone))


@pytest.mark.parametrize("library", [True, False])
def test_checksums_follow_the_chunks(monkeypatch: pytest.MonkeyPatch, library: bool) -> None:
    if not library:
        monkeypatch.setattr("annbatch._kernels.encode.CRC32C", None)
    chunks = np.stack([values(kind, 5_001, "uint16") for kind in ("counts", "noise", "zeros")])
    alone = [bytes(encode(chunk[None], block_size=256, high=True)[0]) for chunk in chunks]
    together, sizes = encode(chunks, block_size=256, high=True, checksums=True)
    assert sizes.tolist() == [len(chunk) + 4 for chunk in alone]
    assert bytes(together) == b"".join(chunk + google_crc32c.value(chunk).to_bytes(4, "little") for chunk in alone)


@pytest.mark.parametrize("high", [False, True])
def test_the_same_values_give_the_same_bytes(high: bool) -> None:
    array, other = values("counts", 30_000, "uint16"), values("noise", 30_000, "uint16")
    first = bytes(encode(array[None], block_size=8192, high=high)[0])
    encode(other[None], block_size=8192, high=high)  # leaves traces in the thread's scratch memory
    assert bytes(encode(array[None], block_size=8192, high=high)[0]) == first


def test_blocks_are_as_small_as_asked_for() -> None:
    chunk, _ = encode(values("counts", 50_000, "uint16")[None], block_size=8192, high=True)
    header = chunk[:16].view("<i4")
    assert header[1:3].tolist() == [100_000, 8192]
