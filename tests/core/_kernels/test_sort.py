"""Rows sorted by their column numbers, compared with NumPy's stable sort."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.sort import ascend, sort_rows


@given(
    n_columns=st.sampled_from([1, 70, 3_000]),
    lengths=st.lists(st.integers(0, 70), max_size=4),
    repeated=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_of_any_length_among_few_columns_and_many(n_columns, lengths, repeated, seed):
    rng, count = np.random.default_rng(seed), np.array(lengths, dtype=np.int64)
    count = count if repeated else np.minimum(count, n_columns)
    begin = np.cumsum(count) - count
    rows = [rng.choice(n_columns, n, replace=repeated) for n in count]
    indices = np.concatenate([np.empty(0), *rows]).astype(np.int32)
    values = np.arange(len(indices), dtype=np.float32)
    order = np.lexsort((indices, np.repeat(np.arange(len(count)), count)))  # stable
    expected = values[order], indices[order]
    sort_rows(begin, count, n_columns, values, indices)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(indices, expected[1])


@given(
    rows=st.lists(st.lists(st.integers(0, 5), max_size=40), max_size=4),
    ordered=st.booleans(),
    dtype=st.sampled_from(["u2", "i4", "i8"]),
)
def test_rows_ascend_only_if_all_do(rows: list[list[int]], ordered: bool, dtype: str) -> None:
    rows = [sorted(row) for row in rows] if ordered else rows
    indptr = np.cumsum([0, *map(len, rows)])
    numbers = np.array([number for row in rows for number in row], dtype)
    assert ascend(numbers, indptr) == all(row == sorted(row) for row in rows)
