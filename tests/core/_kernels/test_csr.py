"""Rows made dense by the kernel equal SciPy's ``toarray``, however they are cut and wherever they go."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.copy import LARGE
from annbatch._kernels.csr import add_dense, add_dense_rows, column_range
from annbatch._runtime.buffers import allocate_aligned

UNCHANGED = np.empty(0, dtype=np.int32), np.empty(0, dtype=bool)


def counts(n_rows: int, n_columns: int, density: float = 0.2, seed: int = 0) -> sp.csr_matrix:
    x = sp.random(n_rows, n_columns, density, "csr", dtype=np.float64, random_state=seed)
    x.data = np.ceil(x.data * 50)
    return x


@given(data=st.data())
def test_stretches_of_rows_that_repeat(data):
    """Elements come a stretch at a time; a row may cross stretches, and be requested several times."""
    x = counts(12, 7, data.draw(st.sampled_from([0.0, 0.3, 1.0])), data.draw(st.integers(0, 100)))
    rows = np.sort(data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=30)))
    rows = rows[np.diff(x.indptr)[rows] > 0]
    columns = data.draw(st.sampled_from([None, np.array([2, -1, 0, 1, -1, -1, 3], np.int32)]))
    width = 7 if columns is None else 4
    selection = UNCHANGED if columns is None else (columns, columns >= 0)
    positions = np.empty(7, np.int32)
    start, length = x.indptr[rows].astype(np.int64), np.diff(x.indptr)[rows].astype(np.int64)
    places = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64) * width
    out = np.full(len(rows) * width, 77, np.float32)
    scratch = np.zeros(width, np.float32)
    cuts = sorted({0, x.nnz, *data.draw(st.lists(st.integers(0, x.nnz), max_size=5))})
    for low, high in itertools.pairwise(cuts):
        first = int(np.searchsorted(start + length, low, side="right"))
        part = x.data[low:high], x.indices[low:high], low, high, first
        add_dense(*part, (start, length, places), *selection, None, positions, scratch, out)
        assert not scratch.any()
    dense = x.toarray()
    if columns is not None:
        dense = dense[:, np.argsort(columns)[-4:]]
    np.testing.assert_array_equal(out.reshape(-1, width)[places // width], dense[rows])


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "width"), [("f4", 20_000), ("f4", 20_003), ("u1", 20_003), ("f8", 20_003)])
def test_memory_that_is_written_around_the_caches(dtype, width):
    """Rows of odd widths begin in the middle of a line."""
    n_rows = LARGE // (width * np.dtype(dtype).itemsize) + 3
    x = counts(n_rows, width, 0.001)
    out = allocate_aligned(n_rows * width * np.dtype(dtype).itemsize).view(dtype)
    assert out.nbytes >= LARGE
    out[:] = 77
    order = np.random.default_rng(0).permutation(n_rows)
    pieces = x.indptr[:-1].astype(np.int64), np.diff(x.indptr).astype(np.int64), order.astype(np.int64) * width
    add_dense_rows(x.data, x.indices, 0, x.nnz, 0, pieces, *UNCHANGED, width, None, out)
    np.testing.assert_array_equal(out.reshape(n_rows, width)[order], x.toarray().astype(dtype))


def test_a_batch_without_columns():
    x, out = counts(4, 5, 1.0), np.empty(0, np.float32)
    pieces = x.indptr[:-1].astype(np.int64), np.diff(x.indptr).astype(np.int64), np.zeros(4, np.int64)
    add_dense_rows(x.data, x.indices, 0, x.nnz, 0, pieces, np.full(5, -1, np.int32), np.zeros(5, bool), 0, None, out)


@given(columns=st.lists(st.integers(-5, 5)), cut=st.integers(0, 10))
def test_the_range_of_column_numbers(columns, cut):
    indices = np.array(columns, dtype=np.int32)
    edges = np.array([0, min(cut, len(indices)), len(indices)])
    expected = (min(columns, default=0), max(columns, default=0))
    assert column_range(indices, edges[:-1], np.diff(edges)) == (min(0, expected[0]), max(0, expected[1]))
