"""Which columns of a row are wanted, many at a time, beside NumPy's looking them up one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.lookup import GROUP, bits_of, find_wanted


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8"])
@pytest.mark.parametrize("order", ["ascending", "any"])
@given(
    n_columns=st.sampled_from([1, 40, 200, 6_000, 65_536]),
    n=st.integers(0, 5 * GROUP),
    share=st.sampled_from([0.0, 0.03, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_that_are_wanted_and_only_those(dtype, order, n_columns, n, share, seed):
    """Rows whose columns lie close together and far apart, that end at the last column, and in no order."""
    rng = np.random.default_rng(seed)
    n_columns = min(n_columns, 256) if dtype == "u1" else n_columns
    wanted = rng.random(n_columns) < share
    indices = n_columns - 1 - rng.integers(0, rng.integers(1, n_columns, endpoint=True), n)
    indices = (np.sort(indices) if order == "ascending" else indices).astype(dtype)
    expected = np.flatnonzero(wanted[indices])
    for room in (np.int32, np.int64):
        positions = np.full(n + GROUP, 77, dtype=room)
        assert find_wanted(indices, bits_of(wanted), positions[:n]) == len(expected)
        np.testing.assert_array_equal(positions[: len(expected)], expected)
        assert (positions[n:] == 77).all()
