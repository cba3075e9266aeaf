"""Batches to try adapters on, laid out in memory as the loader lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._runtime.buffers import ALIGNMENT
from ..batch import CSR, CompactWindow

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..transforms import Transform


def dense_batch(allocate: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: str, *, seed: int) -> np.ndarray:
    """Return an array of ``shape`` in memory from ``allocate``."""
    values = _values(np.random.default_rng(seed), int(np.prod(shape)), np.dtype(dtype))
    (flat,) = _laid_out(allocate, values)
    return flat.reshape(shape)


def sparse_batch(
    allocate: Callable[[int], np.ndarray],
    shape: tuple[int, int],
    dtype: str,
    *,
    seed: int,
    capacity: Callable[[int], int],
    density: float = 0.3,
) -> CSR:
    """Return a batch in memory from ``allocate``: columns in any order, some repeated, rows of any length.

    Parameters
    ----------
    density
        Values to expect in a row, as a share of the columns.
    """
    rng = np.random.default_rng(seed)
    n_rows, n_columns = shape
    indptr = np.zeros(n_rows + 1, dtype=np.int32)
    np.cumsum(rng.poisson(density * n_columns, n_rows), out=indptr[1:])
    nnz = int(indptr[-1])
    padding = capacity(nnz) - nnz
    values = _values(rng, nnz, np.dtype(dtype))
    data = np.concatenate([values, np.zeros(padding, dtype)])
    indices = np.concatenate([rng.integers(n_columns, size=nnz), np.full(padding, n_columns)]).astype(np.int32)
    data, indices, indptr = _laid_out(allocate, data, indices, indptr)
    return CSR(data, indices, indptr, shape)


def compact_window(
    allocate: Callable[[int], np.ndarray],
    rows: list[int],
    dtype: str,
    *,
    seed: int,
    wanted: str,
    columns: np.ndarray | None = None,
    transform: Transform | None = None,
    n_stored: int = 40,
) -> CompactWindow:
    """Return a window of batches with these numbers of rows, each row's columns unique, in memory from ``allocate``."""
    rng = np.random.default_rng(seed)
    edges = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    data, indices, indptr, begins = [], [], [], []
    at = 0
    for n_rows in rows:
        there = rng.random((n_rows, n_stored)) < 0.3
        row, column = np.nonzero(there)
        padding = -len(row) % ALIGNMENT
        values = rng.integers(1, 100, len(row))
        data += [values, np.full(padding, 77)]  # what lies between batches may be anything
        indices += [column, np.full(padding, 3)]
        indptr.append(np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n_rows))]))
        begins.append(at)
        at += len(row) + padding
    parts = np.concatenate(data).astype(dtype), np.concatenate(indices).astype(np.uint16)
    laid_out = _laid_out(allocate, *parts, np.concatenate(indptr).astype(np.int32))
    width = n_stored if columns is None else int(columns.max()) + 1
    return CompactWindow(
        laid_out[0], laid_out[1], laid_out[2], np.array(begins), edges, columns, width, wanted, transform
    )


def expanded(window: CompactWindow, batch: int) -> np.ndarray:
    """Return the dense batch that an adapter must make of a window's, by NumPy alone; halves as float32."""
    elements, pointers = window.elements(batch), window.pointers(batch)
    n_stored = window.n_columns if window.columns is None else len(window.columns)
    rows = np.repeat(np.arange(window.shape(batch)[0]), np.diff(window.indptr[pointers]))
    stored = np.zeros((window.shape(batch)[0], n_stored))
    stored[rows, window.indices[elements]] = window.data[elements]
    dense = stored
    if window.columns is not None:
        dense = np.zeros(window.shape(batch))
        kept = np.flatnonzero(window.columns >= 0)
        dense[:, window.columns[kept]] = stored[:, kept]
    if window.transform is not None:
        window.transform(dense.reshape(-1), np.arange(len(dense) + 1) * window.n_columns)
    return dense.astype(np.float32 if window.dtype in ("float16", "bfloat16") else window.dtype)


def densified(batch: CSR) -> np.ndarray:
    """Return the dense array that an adapter must make of a batch, by NumPy alone."""
    dense = np.zeros(batch.shape, dtype=batch.data.dtype)
    rows = np.repeat(np.arange(batch.shape[0]), np.diff(batch.indptr))
    np.add.at(dense, (rows, batch.indices[: batch.nnz]), batch.data[: batch.nnz])
    return dense


def _values(rng: np.random.Generator, size: int, dtype: np.dtype) -> np.ndarray:
    """Return values of a dtype's whole range; of floats such that sums of a few are exact, zeros among them."""
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, size, dtype=dtype.type, endpoint=True)
    if dtype.kind == "c":
        return (_quarters(rng, size) + 1j * _quarters(rng, size)).astype(dtype)
    return _quarters(rng, size).astype(dtype)


def _quarters(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.integers(-8, 8, size, endpoint=True) / 4


def _laid_out(allocate: Callable[[int], np.ndarray], *arrays: np.ndarray) -> list[np.ndarray]:
    """Copy arrays into one block, each at the next aligned place."""
    starts = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in arrays)]).tolist()
    block = allocate(starts[-1])
    views = [block[a : a + array.nbytes].view(array.dtype) for a, array in zip(starts, arrays, strict=False)]
    for view, array in zip(views, arrays, strict=True):
        view[:] = array
    return views
