"""Rows in one form: what SciPy makes of them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annbatch._kernels.rows import CANONICAL, DAMAGED, OTHER, canonical_rows, check_rows, rows_of_dense

WIDTH = 7


@st.composite
def csr(draw) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows with any columns, in any order, repeated or not, and any values, zeros among them."""
    lengths = draw(st.lists(st.integers(0, 9), min_size=0, max_size=5))
    n = sum(lengths)
    columns = draw(hnp.arrays(np.int32, n, elements=st.integers(0, WIDTH - 1)))
    values = draw(hnp.arrays(np.float32, n, elements=st.integers(-2, 2).map(float)))
    return values, columns, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@given(csr())
def test_rows_become_canonical(rows):
    given_rows = sp.csr_matrix(rows, shape=(len(rows[2]) - 1, WIDTH))
    expected = given_rows.copy()
    expected.sum_duplicates()
    expected.eliminate_zeros()
    found = canonical_rows(*rows)
    for one, other in zip(found, (expected.data, expected.indices, expected.indptr), strict=True):
        assert one.tolist() == other.tolist()
    assert check_rows(*found, WIDTH) == CANONICAL
    same = [a.tolist() == b.tolist() for a, b in zip(rows, found, strict=True)]
    assert check_rows(*rows, WIDTH) == (CANONICAL if all(same) else OTHER)


@given(hnp.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(0, 6)), elements=st.integers(-1, 1).map(float)))
def test_non_zeros_of_dense_rows(matrix):
    expected = sp.csr_matrix(matrix)
    for one, other in zip(rows_of_dense(matrix), (expected.data, expected.indices, expected.indptr), strict=True):
        assert one.tolist() == other.tolist()


def test_columns_out_of_range_are_found():
    for column in (-1, 3):
        rows = np.ones(2, "f4"), np.array([0, column], "i4"), np.array([0, 1, 2])
        assert check_rows(*rows, 3) == DAMAGED
