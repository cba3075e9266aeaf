"""CSC matrices of inputs, transposed one window of rows at a time.

A CSC matrix cannot be read by rows. The whole matrix is read for each window, and the values of the window's rows are
copied into place, column by column, so that rows come out sorted. The larger the window, the fewer times the matrix is
read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..._format.attributes import original_dtype, sparse_shape
from ..._kernels.transpose import transpose
from ...errors import CorruptDataError
from .._blocks import SparseRows
from .matrices import MatrixInfo, sparse_parts

if TYPE_CHECKING:
    from .._resources.threads import Workers
    from .columns import Group

_AT_ONCE = 1 << 20  # values per read


class StoredCsc:
    """A CSC group of an h5ad file or zarr store; it holds ``indptr``, one number per row, and one window."""

    indptr: np.ndarray | None = None  # unknown: counting rows takes a pass over the matrix

    def __init__(self, group: Group, where: str) -> None:
        shape = sparse_shape(group)
        self._data, self._indices, self._indptr = sparse_parts(group, shape[1], where)
        self._where, nnz = where, self._data.size
        dtype = original_dtype(group.attrs, self._data.dtype)
        nbytes = nnz * (dtype.itemsize + self._indices.dtype.itemsize) + 8 * shape[0]
        self.info = MatrixInfo(True, dtype, shape, nbytes, nnz)
        self._edges: np.ndarray | None = None  # `indptr` of the same matrix in CSR
        self._first, self._window = 0, SparseRows(np.empty(0), np.empty(0), np.zeros(1, np.int64))

    def read(self, start: int, stop: int, workers: Workers) -> SparseRows:
        """Return rows ``start:stop`` in the stored dtypes."""
        if not self._first <= start <= stop <= self._first + len(self._window):
            self._transpose(start, stop, workers.memory.window)
        return self._window.part(start - self._first, stop - self._first)

    def _transpose(self, start: int, stop: int, n_bytes: int) -> None:
        edges = self._edges = self._count() if self._edges is None else self._edges
        room = n_bytes // (self._data.dtype.itemsize + 4)
        last = max(stop, int(np.searchsorted(edges, edges[start] + room, side="right")) - 1)
        indptr = edges[start : last + 1] - edges[start]
        # Free the previous window before allocating this one.
        self._window = SparseRows(np.empty(0), np.empty(0), np.zeros(1, np.int64))
        out_indices, out_data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], self._data.dtype)
        fill, column = indptr[:-1].copy(), 0
        bits = f"u{out_data.itemsize}" if out_data.itemsize <= 8 else "c16"
        for begin in range(0, self.info.nnz, _AT_ONCE):
            end = min(begin + _AT_ONCE, self.info.nnz)
            values = self._data.read(begin, end).astype(out_data.dtype, copy=False).view(bits)
            indices = self._indices.read(begin, end)
            column = transpose(
                indices, values, begin, column, self._indptr, start, fill, out_indices, out_data.view(bits)
            )
        if not np.array_equal(fill, indptr[1:]):
            raise CorruptDataError(f"{self._where} changed while it was read.")
        self._first, self._window = start, SparseRows(out_data, out_indices, indptr)

    def _count(self) -> np.ndarray:
        n_rows = self.info.shape[0]
        counts = np.zeros(n_rows, np.int64)
        for begin in range(0, self.info.nnz, _AT_ONCE):
            rows = self._indices.read(begin, min(begin + _AT_ONCE, self.info.nnz))
            if int(rows.min()) < 0 or int(rows.max()) >= n_rows:
                raise CorruptDataError(
                    f"{self._where} must have row numbers from 0 to {n_rows - 1}, got {rows.min()} to {rows.max()}."
                )
            counts += np.bincount(rows, minlength=n_rows)
        return np.concatenate([[0], np.cumsum(counts)])
