"""Matrices of inputs, whatever holds them, read by blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import zarr
from scipy import sparse

from ..._arrays.bounded import bounded, check_backed
from ..._format.attributes import original_dtype, sparse_shape
from ..._format.codecs import quiet_codecs
from ..._kernels.repeats import add_repeats, all_ascend
from ..._plan.pieces import Pieces
from ..._runtime.threads import usable_cores
from ...errors import CorruptDataError
from .._blocks import DenseRows, SparseRows
from .._resources.pages import populate
from .flat_array import FlatArray, native_array
from .narrow import InexactError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from ..._arrays.native import NativeArray
    from .._blocks import Rows
    from .._resources.threads import Workers
    from .columns import Group
    from .narrow import Narrowing


NUMBERS = "?bBhHiIlLqQefdFD"
"""Characters of the dtypes that a matrix may have."""


@dataclass(frozen=True, slots=True)
class MatrixInfo:
    """Kind, dtype and size of a matrix.

    Attributes
    ----------
    sparse
        Whether its rows come as :class:`SparseRows`.
    dtype
        Dtype of the values.
    shape
        Shape, the number of rows included.
    nbytes
        Bytes of all rows in memory, in the stored dtypes.
    nnz
        Number of stored values of a sparse matrix.
    """

    sparse: bool
    dtype: np.dtype
    shape: tuple[int, ...]
    nbytes: int
    nnz: int


class MatrixReader(Protocol):
    """One matrix of one input."""

    info: MatrixInfo

    @property
    def indptr(self) -> np.ndarray | None:
        """Start of each row's values, if known at no cost: row lengths may differ a thousandfold."""

    def read(self, start: int, stop: int, workers: Workers) -> Rows:
        """Return rows ``start:stop`` in the stored dtypes."""


def _sparse_rows(matrix: Any) -> SparseRows:
    rows = sparse.csr_matrix(matrix)
    return SparseRows(rows.data, rows.indices, rows.indptr.astype(np.int64))


def sparse_parts(group: Group, n_lines: int, where: str) -> tuple[FlatArray, FlatArray, np.ndarray]:
    """Return values, indices and ``indptr`` (int64) of a stored sparse matrix of ``n_lines`` rows, or columns if CSC.

    Raises
    ------
    CorruptDataError
        If they do not fit each other, so that values would be lost, or read twice.
    """
    with quiet_codecs():
        parts = [group[name] for name in ("data", "indices", "indptr")]
    for name, part in zip(("data", "indices", "indptr"), parts, strict=True):
        if part.ndim != 1 or (name != "data" and part.dtype.kind not in "iu"):
            raise CorruptDataError(
                f"{where} must have integers in `indices` and `indptr`, in one dimension, got {part.dtype} of shape "
                f"{part.shape} in `{name}`: damaged."
            )
    data, indices, pointers = map(FlatArray, parts)
    indptr = pointers.read(0, n_lines + 1 if pointers.size == n_lines + 1 else 0).astype(np.int64)
    nnz = int(indptr[-1]) if len(indptr) else -1
    if len(indptr) != n_lines + 1 or (data.size, indices.size) != (nnz, nnz):
        raise CorruptDataError(
            f"{where} must have an `indptr` of {n_lines} + 1 numbers that ends with the number of values and indices, "
            f"got {pointers.size} that end with {nnz} for {data.size} values and {indices.size} indices: damaged."
        )
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise CorruptDataError(f"{where} must have an `indptr` that ascends from 0, got another: damaged.")
    for part in (data, indices):
        part.check_values(int(np.diff(indptr).max(initial=0)))
    return data, indices, indptr


class StoredCsr:
    """A CSR group of an h5ad file or zarr store; only ``indptr`` is held."""

    def __init__(self, group: Group, where: str) -> None:
        shape = sparse_shape(group)
        self._data, self._indices, self._indptr = sparse_parts(group, shape[0], where)
        self._where, self.indptr, nnz = where, self._indptr, self._data.size
        dtype = original_dtype(group.attrs, self._data.dtype)
        nbytes = nnz * (dtype.itemsize + self._indices.dtype.itemsize) + 8 * len(self._indptr)
        self.info = MatrixInfo(True, dtype, shape, nbytes, nnz)

    def read(self, start: int, stop: int, workers: Workers) -> SparseRows:
        """Return rows ``start:stop`` in the stored dtypes."""
        indices = self._read_indices(start, stop, self._indices.dtype, workers)
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        data = workers.memory.untouched(last - first, self._data.dtype)

        def copy(offset: int, values: np.ndarray) -> bool:
            populate(to := data[offset : offset + values.size])
            to[...] = values
            return True

        self._data.each(first, last, copy, workers.pool)
        return SparseRows(data, indices, self._indptr[start : stop + 1] - first)

    def read_narrowed(
        self, start: int, stop: int, index_dtype: np.dtype, narrowing: Narrowing, workers: Workers
    ) -> SparseRows:
        """Return rows ``start:stop`` with values narrowed as they are read."""
        indices = self._read_indices(start, stop, index_dtype, workers)
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        data = narrowing.fill(
            last - first, lambda take: self._data.each(first, last, take, workers.pool), workers.memory
        )
        return SparseRows(data, indices, self._indptr[start : stop + 1] - first)

    def _read_indices(self, start: int, stop: int, dtype: np.dtype, workers: Workers) -> np.ndarray:
        first, last = int(self._indptr[start]), int(self._indptr[stop])
        indices = workers.memory.untouched(last - first, dtype)

        def check(offset: int, values: np.ndarray) -> bool:
            unsigned = values.view(f"u{values.dtype.itemsize}")  # so that negative numbers are too large
            if values.size and int(unsigned.max()) >= self.info.shape[1]:
                raise CorruptDataError(
                    f"{self._where} must have column numbers from 0 to {self.info.shape[1] - 1}, got "
                    f"{int(values.min())} to {int(values.max())} in rows {start} to {stop}."
                )
            populate(to := indices[offset : offset + values.size])
            to[...] = values
            return True

        self._indices.each(first, last, check, workers.pool)
        return indices


class Sliceable:
    """A matrix that slices by rows: in memory, backed by a file, a dask array, a dense array of a store.

    CSC cannot be sliced by rows: the whole matrix is read and converted to CSR when its first rows are requested.
    """

    def __init__(self, values: Any, dtype: np.dtype | None = None) -> None:
        self._values, self._native = bounded(values), None
        shape = tuple(int(n) for n in values.shape)
        meta = getattr(values, "_meta", values)  # type of a dask array's blocks
        self._is_csc = getattr(meta, "format", None) == "csc"
        is_sparse = hasattr(meta, "format")
        kind = np.dtype(values.dtype if dtype is None else dtype).newbyteorder("=")
        size = int(np.prod(shape, dtype=np.int64))
        nbytes, nnz = kind.itemsize * size, 0
        if is_sparse:
            nnz = _count_stored(values, size)
            nbytes = nnz * (kind.itemsize + 4) + 8 * shape[0]
        self.info = MatrixInfo(is_sparse, kind, shape, nbytes, nnz)
        self.indptr = None
        if getattr(values, "format", None) == "csr":  # backed or in memory
            self.indptr = np.asarray(values.group["indptr"][:] if hasattr(values, "group") else values.indptr)
        if isinstance(values, zarr.Array):
            self._native = native_array(self._values)

    def read(self, start: int, stop: int, workers: Workers) -> Rows:
        """Return rows ``start:stop``."""
        if self._is_csc:
            whole = self._values
            for conversion in ("to_memory", "compute"):
                whole = getattr(whole, conversion)() if hasattr(whole, conversion) else whole
            self._values, self._is_csc = whole.tocsr(), False
        if hasattr(self._values, "chunks") and hasattr(self._values, "attrs"):  # stored
            check_backed(self._values, stop - start)
        if self._native is not None:
            return DenseRows(_read_rows(self._native, start, stop, workers))
        part = self._values[start:stop]
        if hasattr(part, "compute"):
            part = part.compute()
        if sparse.issparse(part):
            return _sparse_rows(part)
        return DenseRows(np.asarray(part, part.dtype.newbyteorder("=")))


def _read_rows(array: NativeArray, start: int, stop: int, workers: Workers) -> np.ndarray:
    rows = Pieces(np.array([start]), np.array([stop - start]), np.zeros(1, np.int64))
    out = workers.memory.empty((stop - start) * array.layout.item, array.dtype)
    for done in [workers.pool.submit(job) for job in array.jobs(rows, out, n_jobs=usable_cores())]:
        done.result()
    return out.reshape(stop - start, *array.shape[1:])


def _count_stored(values: Any, size: int) -> int:
    """Return how many values a sparse matrix stores; for lazy ones an estimate, a twentieth of all."""
    if hasattr(values, "group"):  # backed
        return int(values.group["data"].shape[0])
    nnz = getattr(values, "nnz", None)
    return size // 20 if nnz is None or hasattr(values, "compute") else int(nnz)


def sparsify(rows: DenseRows) -> SparseRows:
    """Return dense rows as sparse ones; a negative zero is kept as a stored value."""
    values = rows.values
    present = (values != 0) | (np.signbit(values) if values.dtype.kind == "f" else False)
    row, column = np.nonzero(present)
    indptr = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=len(values)), out=indptr[1:])
    return SparseRows(values[row, column], column.astype(np.int32), indptr)


def ascending(rows: SparseRows, pool: Executor) -> bool:
    """Return whether each column number of a row is larger than the one before, so that none repeats."""
    edges = np.linspace(0, len(rows), usable_cores() + 1).astype(int).tolist()
    parts = [rows.indptr[a : b + 1] for a, b in pairwise(edges)]
    return all(pool.map(all_ascend, repeat(rows.indices), parts))


def has_repeats(rows: SparseRows, n_columns: int) -> bool:
    """Return whether a row holds a column more than once."""
    return bool(add_repeats(rows.indices, rows.indptr, n_columns, None))


def without_repeats(rows: SparseRows, dtype: np.dtype) -> SparseRows:
    """Return rows that hold each column once, sorted: values of the same column are added up.

    Raises
    ------
    InexactError
        If a sum is beyond the integers of ``dtype``, the common dtype of all inputs.
    """
    row = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, row))
    row, indices, data = row[order], rows.indices[order], rows.data[order]
    first = np.flatnonzero((np.diff(row, prepend=-1) != 0) | (np.diff(indices.astype(np.int64), prepend=-1) != 0))
    wide = {"i": np.dtype(np.int64), "u": np.dtype(np.uint64)}.get(data.dtype.kind, data.dtype)
    sums = np.add.reduceat(data, first, dtype=wide)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        beyond = sums[(sums < limits.min) | (sums > limits.max)]
        if len(beyond):
            raise InexactError(int(beyond[0]), dtype)
    return SparseRows(sums, indices[first], np.searchsorted(row[first], np.arange(len(rows) + 1)))
