"""Copies by non-temporal stores, compared with NumPy's."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader
from annbatch._kernels.copy import LARGE, LINE, copy, fence, prefetch


@nb.njit
def copy_all(source, target, non_temporal):
    prefetch(target.ctypes.data)
    copy(source, target, non_temporal)
    fence()


def numbers(dtype, n):
    """Return numbers that every dtype can hold: casts of others are the compiler's choice."""
    return np.random.default_rng(n).integers(0, 120, n).astype(dtype)


# One of each cast: widening, narrowing, reinterpreting, to and from floating point.
CASTS = [("u2", "f4"), ("u2", "i4"), ("i1", "i8"), ("i8", "u2"), ("u4", "i4"), ("i4", "f8"), ("f4", "f8"), ("f8", "f4")]
CASTS += [("f8", "i2"), ("f4", "u1"), ("u1", "u1"), ("f8", "f8"), ("?", "f4")]


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), CASTS)
@given(st.integers(0, 300), st.integers(0, 70), st.integers(0, 70), st.booleans())
def test_a_copy_equals_numpys_and_changes_nothing_around_it(old, new, n, skip, before, non_temporal):
    source = numbers(old, skip + n)[skip:]
    memory = np.full(before + n + LINE, 7, dtype=new)
    expected = memory.copy()
    expected[before : before + n] = source.astype(new)
    copy_all(source, memory[before : before + n], non_temporal)
    assert memory.tobytes() == expected.tobytes()


def test_negative_numbers_keep_their_sign():
    source = np.arange(-64, 64, dtype=np.int8)
    for dtype in (np.int16, np.int64, np.float32):
        target = np.empty(128, dtype=dtype)
        copy_all(source, target, True)
        np.testing.assert_array_equal(target, source.astype(dtype))


def test_a_window_too_large_for_any_cache_is_exact():
    stored = np.random.default_rng(0).integers(0, 60_000, (6_000, 1_501), dtype=np.uint16)
    assert stored.nbytes * 2 > LARGE  # as float32
    loader = Loader(batch_size=2_000, chunk_size=1, preload_nchunks=6_000, shuffle=True, return_index=True, dtype="f4")
    for batch in loader.add_dataset(stored):
        np.testing.assert_array_equal(batch["X"], stored[batch["index"]])
