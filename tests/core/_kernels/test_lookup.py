"""Which elements of a row are in selected columns, compared with NumPy's look-up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.lookup import find_selected


@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8"])
@given(
    n_columns=st.sampled_from([1, 40, 200, 6_000, 65_536]),
    n=st.integers(0, 160),
    share=st.sampled_from([0.0, 0.03, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_all_selected_elements_and_only_those(dtype, n_columns, n, share, seed):
    """Rows in any order, some of which name the last column or one column twice."""
    rng = np.random.default_rng(seed)
    n_columns = min(n_columns, 256) if dtype == "u1" else n_columns
    selected = rng.random(n_columns) < share
    indices = (n_columns - 1 - rng.integers(0, rng.integers(1, n_columns, endpoint=True), n)).astype(dtype)
    expected = np.flatnonzero(selected[indices])
    for kind in (np.int32, np.int64):
        positions = np.full(n + 1, 77, dtype=kind)
        assert find_selected(indices, selected, positions[:n]) == len(expected)
        np.testing.assert_array_equal(positions[: len(expected)], expected)
        assert positions[n] == 77
