"""The kernel gathers what joining slices of bytes gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.gather import gather_bytes


@given(pieces=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 100)), max_size=20))
def test_gather_bytes(pieces: list[tuple[int, int]]) -> None:
    source = np.random.default_rng(0).integers(0, 256, 1000, dtype=np.uint8)
    start, length = np.array(pieces, np.int64).reshape(-1, 2).T.copy()
    out = np.zeros(int(length.sum()) + 1, np.uint8)
    gather_bytes(source.ctypes.data + start, length, out)
    assert out.tobytes() == b"".join(source[a : a + n].tobytes() for a, n in pieces) + b"\0"
