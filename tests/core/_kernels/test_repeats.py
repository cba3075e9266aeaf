"""Values of repeated columns are added up, in rows of any order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.repeats import add_repeats, all_ascend


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
@given(rows=st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=5))
def test_sums_are_those_of_scipy(dtype: str, rows: list[list[int]]) -> None:
    indices = np.array([column for row in rows for column in row], dtype)
    indptr = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    values = np.arange(1, len(indices) + 1, dtype=np.float32)
    expected = sp.csr_matrix((values.copy(), indices.astype(np.int32), indptr), shape=(len(rows), 7)).toarray()
    repeats = any(len(set(row)) < len(row) for row in rows)

    assert all_ascend(indices, indptr) == all(row == sorted(set(row)) for row in rows)
    assert add_repeats(indices, indptr, 7, None) == repeats
    assert add_repeats(indices, indptr, 7, values) == repeats

    assert np.count_nonzero(values) == np.count_nonzero(expected)
    matrix = sp.csr_matrix((values, indices.astype(np.int32), indptr), shape=(len(rows), 7))
    assert np.array_equal(matrix.toarray(), expected)


def test_columns_out_of_range_are_left_alone() -> None:
    values = np.array([1, 2, 3, 4], np.float32)
    assert not add_repeats(np.array([9, -1, 9, 0], np.int32), np.array([0, 4], np.int32), 2, values)
    assert values.tolist() == [1, 2, 3, 4]
