"""Matrices of inputs, whatever holds them, read by blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import sparse

from ..errors import CorruptDataError
from ._rows import DenseRows, SparseRows

if TYPE_CHECKING:
    from ._columns import Group
    from ._rows import Rows


@dataclass(frozen=True, slots=True)
class Matrix:
    """What a matrix holds.

    Attributes
    ----------
    sparse
        Whether its rows come as :class:`SparseRows`.
    dtype
        Of its values.
    shape
        With the number of rows.
    nbytes
        What its rows take in memory as they are stored, all together.
    """

    sparse: bool
    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int


class MatrixReader(Protocol):
    """One matrix of one input."""

    matrix: Matrix

    def read(self, start: int, stop: int) -> Rows:
        """Return rows ``start:stop`` as they are stored."""


def _sparse_rows(matrix: Any) -> SparseRows:
    rows = sparse.csr_matrix(matrix)
    return SparseRows(rows.data, rows.indices, rows.indptr.astype(np.int64))


class StoredCsr:
    """A CSR group of an h5ad file or zarr store; only ``indptr`` is held."""

    def __init__(self, group: Group, where: str) -> None:
        shape = tuple(int(n) for n in group.attrs["shape"])
        self._data, self._indices, self._where = group["data"], group["indices"], where
        self._indptr = np.asarray(group["indptr"][:]).astype(np.int64)
        nnz = int(self._indptr[-1]) if len(self._indptr) else -1
        lengths = self._data.shape[0], self._indices.shape[0]
        if len(self._indptr) != shape[0] + 1 or lengths != (nnz, nnz):
            raise CorruptDataError(
                f"{where} must have {shape[0]} rows and as many values as `indptr` says, got {len(self._indptr) - 1} "
                f"rows, {lengths[0]} values and {lengths[1]} indices where `indptr` ends with {nnz}."
            )
        if (np.diff(self._indptr) < 0).any():
            raise CorruptDataError(f"{where} must have an `indptr` that never falls.")
        dtype = np.dtype(self._data.dtype)
        nbytes = nnz * (dtype.itemsize + self._indices.dtype.itemsize) + 8 * len(self._indptr)
        self.matrix = Matrix(True, dtype, shape, nbytes)

    def read(self, start: int, stop: int) -> SparseRows:
        """Return rows ``start:stop``."""
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        indices = np.asarray(self._indices[first:last])
        unsigned = indices.view(f"u{indices.dtype.itemsize}")  # so that a negative one is too large
        if indices.size and int(unsigned.max()) >= self.matrix.shape[1]:
            raise CorruptDataError(
                f"{self._where} must have column numbers below {self.matrix.shape[1]}, got "
                f"{int(indices.min())} to {int(indices.max())} in rows {start} to {stop}."
            )
        return SparseRows(np.asarray(self._data[first:last]), indices, self._indptr[start : stop + 1] - first)


class Sliceable:
    """A matrix that slices by rows: in memory, backed by a file, a dask array, a dense array of a store.

    CSC has no rows to slice: the whole matrix is read and turned into CSR when its first rows are asked for.
    """

    def __init__(self, values: Any) -> None:
        self._values = values
        shape = tuple(int(n) for n in values.shape)
        meta = getattr(values, "_meta", values)  # what a block of a dask array is
        self._turn = getattr(meta, "format", None) == "csc"
        is_sparse = hasattr(meta, "format")
        dtype = np.dtype(values.dtype)
        nnz = getattr(values, "nnz", None)
        if nnz is None and is_sparse and hasattr(values, "group"):
            nnz = values.group["data"].shape[0]
        width = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        nbytes = int(nnz) * (dtype.itemsize + 4) + 8 * shape[0] if nnz is not None and is_sparse else shape[0] * width
        self.matrix = Matrix(is_sparse, dtype, shape, nbytes)

    def read(self, start: int, stop: int) -> Rows:
        """Return rows ``start:stop``."""
        if self._turn:
            whole = self._values
            for conversion in ("to_memory", "compute"):
                whole = getattr(whole, conversion)() if hasattr(whole, conversion) else whole
            self._values, self._turn = whole.tocsr(), False
        part = self._values[start:stop]
        if hasattr(part, "compute"):
            part = part.compute()
        return _sparse_rows(part) if sparse.issparse(part) else DenseRows(np.asarray(part))


def sparsify(rows: DenseRows) -> SparseRows:
    """Return dense rows as sparse ones; a negative zero is kept as a stored value."""
    values = rows.values
    present = (values != 0) | (np.signbit(values) if values.dtype.kind == "f" else False)
    row, column = np.nonzero(present)
    indptr = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=len(values)), out=indptr[1:])
    return SparseRows(values[row, column], column.astype(np.int32), indptr)
