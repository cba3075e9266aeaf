"""Elements: what a window's plan promises, and what its memory holds once the jobs have run."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader, write_sharded
from annbatch._arrays.open import open_rows
from annbatch._elements.csr import CsrElement
from annbatch._elements.csr_selected import SelectedElement
from annbatch._elements.dense import DenseElement, DensifiedElement
from annbatch._elements.dense_selected import DenseSelectedElement
from annbatch._plan.window_rows import plan_window, rows_by_dataset
from annbatch._runtime.buffers import BufferPool


def load(element, rows: list[list[int]], sizes: list[int]) -> list:
    """Read batches of global rows through an element, and check that its plan promised enough memory."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    flat = np.array([row for batch in rows for row in batch], dtype=np.int64)
    splits = np.split(np.arange(len(flat)), np.cumsum([len(batch) for batch in rows])[:-1]) if rows else []
    window = plan_window({"requests": flat, "splits": splits}, int(starts[-1]))
    plan = element.plan(window, rows_by_dataset(window.rows, starts))
    pool = BufferPool()
    dirty = pool.lend(1 << 16)  # what comes next lies in used memory
    dirty[...] = 171
    del dirty
    loaded, jobs = plan.begin(pool, n_jobs=2)
    for job in reversed(jobs):  # they are independent of each other
        job()
    return [loaded.batch(i) for i in range(len(rows))]


@st.composite
def cases(draw):
    """Return dense matrices of one width, and batches of their rows, repeated and empty ones among them."""
    n_columns = draw(st.integers(1, 8))
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
    sizes = sizes if sum(sizes) else [2]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    density = draw(st.sampled_from([0.0, 0.4, 1.0]))
    matrices = [(rng.integers(1, 9, (n, n_columns)) * (rng.random((n, n_columns)) < density)) for n in sizes]
    row = st.integers(0, sum(sizes) - 1)
    rows = draw(st.lists(st.lists(row, max_size=6), min_size=1, max_size=4))
    columns = draw(st.lists(st.integers(0, n_columns - 1), unique=True, max_size=n_columns))
    return [matrix.astype("u2") for matrix in matrices], rows, columns


def places(columns: list[int], n_columns: int) -> np.ndarray:
    """Return where each stored column goes, -1 for nowhere."""
    new = np.full(n_columns, -1, dtype=np.int32)
    new[columns] = np.arange(len(columns))
    return new


def same_csr(found, expected: np.ndarray, room: int = 0) -> None:
    wanted = sp.csr_matrix(expected)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.indices[: found.nnz], wanted.indices)
    np.testing.assert_array_equal(found.data[: found.nnz], wanted.data)
    assert len(found.data) == len(found.indices) == found.nnz + room
    assert (found.data[found.nnz :] == 0).all()
    assert (found.indices[found.nnz :] == expected.shape[1]).all()


@given(cases(), st.sampled_from(["u2", "f4"]), st.sampled_from([0, 3]))
def test_sparse(case, dtype, room):
    matrices, rows, _ = case
    sources = tuple(open_rows(sp.csr_matrix(matrix)) for matrix in matrices)
    capacity = (lambda nnz: nnz + room) if room else None
    element = CsrElement(sources, matrices[0].shape[1], np.dtype(dtype), capacity)
    everything = np.concatenate(matrices).astype(dtype)
    for found, batch in zip(load(element, rows, [len(m) for m in matrices]), rows, strict=True):
        assert found.data.dtype == dtype
        same_csr(found, everything[batch], room)


@given(cases(), st.sampled_from(["u2", "f4"]), st.sampled_from([0, 3]))
def test_sparse_with_other_columns(case, dtype, room):
    matrices, rows, columns = case
    sources = tuple(open_rows(sp.csr_matrix(matrix)) for matrix in matrices)
    capacity = (lambda nnz: nnz + room) if room else None
    new = (places(columns, matrices[0].shape[1]),) * len(matrices)
    element = SelectedElement(sources, new, len(columns), np.dtype(dtype), capacity)
    everything = np.concatenate(matrices).astype(dtype)[:, columns]
    for found, batch in zip(load(element, rows, [len(m) for m in matrices]), rows, strict=True):
        assert found.data.dtype == dtype
        same_csr(found, everything[batch], room)


@given(cases(), st.sampled_from(["u2", "f4"]), st.booleans())
def test_sparse_made_dense(case, dtype, select):
    matrices, rows, columns = case
    n_columns = matrices[0].shape[1]
    columns = columns if select else list(range(n_columns))
    new = places(columns, n_columns) if select else np.empty(0, dtype=np.int32)
    sources = tuple(open_rows(sp.csr_matrix(matrix)) for matrix in matrices)
    element = DensifiedElement(sources, (new,) * len(matrices), len(columns), np.dtype(dtype))
    everything = np.concatenate(matrices).astype(dtype)[:, columns]
    for found, batch in zip(load(element, rows, [len(m) for m in matrices]), rows, strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, everything[batch])


@given(cases(), st.sampled_from(["u2", "f4", "f2"]))
def test_dense(case, dtype):
    matrices, rows, _ = case
    n_columns = matrices[0].shape[1]
    for item in ((n_columns,), (n_columns, 1), (1, n_columns, 1)):
        shaped = [matrix.reshape(len(matrix), *item) for matrix in matrices]
        element = DenseElement(tuple(map(open_rows, shaped)), shaped[0].shape[1:], np.dtype(dtype))
        everything = np.concatenate(shaped).astype(dtype)
        for found, batch in zip(load(element, rows, [len(m) for m in shaped]), rows, strict=True):
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, everything[batch])


@given(cases(), st.sampled_from(["u2", "f4", "f2"]))
def test_dense_with_other_columns(case, dtype):
    matrices, rows, columns = case
    new = (places(columns, matrices[0].shape[1]),) * len(matrices)
    element = DenseSelectedElement(tuple(map(open_rows, matrices)), new, len(columns), np.dtype(dtype))
    everything = np.concatenate(matrices).astype(dtype)[:, columns]
    for found, batch in zip(load(element, rows, [len(m) for m in matrices]), rows, strict=True):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, everything[batch])


@pytest.mark.parametrize("store", ["memory", "native"])
def test_columns_that_a_dataset_lacks_are_zero(store, tmp_path):
    matrices = [np.arange(1, 7, dtype="f4").reshape(2, 3), np.arange(11, 17, dtype="f4").reshape(3, 2)]
    new = (np.array([0, 2, 1], dtype=np.int32), np.array([3, 1], dtype=np.int32))
    expected = np.array([[1, 3, 2, 0], [4, 6, 5, 0], [0, 12, 0, 11], [0, 14, 0, 13], [0, 16, 0, 15]], dtype="f4")
    rows, sizes = [[4, 0, 4], [1, 2, 3]], [2, 3]

    def opened(matrix, name):
        if store == "memory":
            return open_rows(matrix)
        root = zarr.open_group(tmp_path / name, mode="w")
        write_sharded(root, ad.AnnData(matrix), n_obs_per_chunk=1)
        return open_rows(root["X"])

    dense = tuple(opened(m, f"dense{i}") for i, m in enumerate(matrices))
    sparse = tuple(opened(sp.csr_matrix(m), f"sparse{i}") for i, m in enumerate(matrices))
    f4 = np.dtype("f4")
    for element in (DenseSelectedElement(dense, new, 4, f4), DensifiedElement(sparse, new, 4, f4)):
        for found, batch in zip(load(element, rows, sizes), rows, strict=True):
            np.testing.assert_array_equal(found, expected[batch])
    for found, batch in zip(load(SelectedElement(sparse, new, 4, f4, None), rows, sizes), rows, strict=True):
        same_csr(found, expected[batch])


def test_a_plan_takes_no_memory_and_says_how_much_it_will():
    matrix = sp.csr_matrix(np.ones((4, 5), dtype="f4"))
    window = plan_window({"requests": [slice(0, 4)], "splits": [np.arange(3), np.array([3])]}, 4)
    shares = rows_by_dataset(window.rows, np.array([0, 4]))
    sparse = CsrElement((open_rows(matrix),), 5, np.dtype("f4"), None).plan(window, shares)
    dense = DenseElement((open_rows(matrix.toarray()),), (5,), np.dtype("f8")).plan(window, shares)
    assert sparse.nbytes == 2 * 64 * (4 + 4)  # two batches, each filled up to a multiple of 64 elements
    assert dense.nbytes == 2 * 64 * 8
    pool = BufferPool()
    assert pool.peak_bytes == 0
    sparse.begin(pool, n_jobs=1)
    assert pool.peak_bytes >= sparse.nbytes


def test_a_width_that_nothing_shows_takes_no_memory(tmp_path):
    attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [4, 250_000_000]}
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", attributes=attributes)
    group["data"], group["indices"], group["indptr"] = np.ones(4, "f4"), np.arange(4), np.arange(5)
    how = {"batch_size": 4, "chunk_size": 4, "preload_nchunks": 1}
    (batch,) = Loader(**how).add_dataset(group)
    assert batch["X"].shape == (4, 250_000_000)
    with pytest.raises(ValueError, match=r"in one of 8,192 places to be made dense.*got 4 values for 4 x 250,000,000"):
        next(iter(Loader(densify=True, **how).add_dataset(group)))
