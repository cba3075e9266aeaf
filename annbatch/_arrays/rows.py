"""The rows of one matrix: CSR or dense."""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING

import numpy as np

from .._plan.pieces import Pieces
from ..errors import CorruptDataError
from .csr_pair import CsrPair

if TYPE_CHECKING:
    from .array import StoredArray
    from .values import HeldValues, StoredValues


class CsrSource:
    """A stored CSR matrix: where its rows lie, and the two arrays that hold them.

    Parameters
    ----------
    data, indices
        ``(nnz,)`` stored values and column numbers.
    indptr
        ``(n_rows + 1,)`` where each row begins; read by range if it is large.
    shape
        ``(n_rows, n_columns)``.
    dtype
        Dtype of the values before they were narrowed for storage.
    where
        Name of the matrix in errors.
    before
        ``(n_rows,)`` column number before each row, where they are stored as differences.
    """

    def __init__(
        self,
        data: StoredArray,
        indices: StoredArray,
        indptr: HeldValues | StoredValues,
        shape: tuple[int, int],
        *,
        dtype: np.dtype,
        where: str,
        before: HeldValues | StoredValues | None = None,
    ) -> None:
        if len(data.shape) != 1 or data.shape != indices.shape:
            raise CorruptDataError(
                f"{where} must have a column number per value, got {indices.shape} for {data.shape}: damaged."
            )
        if indptr.size != shape[0] + 1 or min(shape) < 0:
            raise CorruptDataError(
                f"{where} must have an `indptr` with one number more than it has rows, got {indptr.size} for shape "
                f"{shape}: damaged."
            )
        for name, dtype_ in (("indices", indices.dtype), ("indptr", indptr.dtype)):
            if dtype_.kind not in "iu":
                raise CorruptDataError(f"{where} must have integers in `{name}`, got {dtype_}: damaged.")
        self.data = data
        self.indices = indices
        self.arrays = (data, indices)
        self.shape = shape
        self.dtype = dtype
        self._indptr = indptr
        self._before = before
        self._where = where
        self._ends_checked = not shape[0]

    def extents(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first element and the number of elements of each row, as int64.

        Parameters
        ----------
        rows
            ``(n,)`` int64 row numbers, ascending; a row may repeat.

        Raises
        ------
        CorruptDataError
            If ``indptr`` descends, or does not reach from the first value to the last.
        """
        if not self._ends_checked:
            first, last = self._indptr.pairs(np.array([0, self.shape[0] - 1]))
            if (int(first[0]), int(last[1])) != (0, self.data.shape[0]):
                raise self._descends(f"{first[0]} to {last[1]}")
            self._ends_checked = True
        start, stop = (values.astype(np.int64, copy=False) for values in self._indptr.pairs(rows))
        wrong = (start < 0) | (start > stop) | (stop > self.data.shape[0])
        wrong[1:] |= (start[1:] < stop[:-1]) & (rows[1:] != rows[:-1])
        if wrong.any():
            raise self._descends(f"others in rows {rows.min()} to {rows.max()}")
        n_values = int((stop - start).sum())
        for array in self.arrays:
            array.check_bytes(n_values * array.dtype.itemsize)
        return start, stop - start

    def pieces(self, rows: np.ndarray, start: np.ndarray, length: np.ndarray, dest: np.ndarray) -> Pieces:
        """Return rows as pieces of both arrays.

        Parameters
        ----------
        rows, start, length
            The rows, and their :meth:`extents`.
        dest
            ``(n,)`` int64 places in the buffer.
        """
        return Pieces(start, length, dest, None if self._before is None else self._before.take(rows))

    def _descends(self, got: str) -> CorruptDataError:
        return CorruptDataError(
            f"{self._where} must have an `indptr` that ascends from 0 to {self.data.shape[0]}, the number of stored "
            f"values, got {got}: damaged."
        )

    def with_values(self, data: StoredArray) -> CsrSource:
        """Return the matrix with another reader of its values."""
        other = copy(self)
        other.data, other.arrays = data, (data, self.indices)
        return other

    @property
    def pair(self) -> CsrPair:
        """Both arrays, for reading them together."""
        return CsrPair(self.data, self.indices, n_columns=self.shape[1], where=self._where)

    def describe(self) -> str:
        """Describe how the matrix is read."""
        return f"csr, {self.data.describe()}"


class DenseSource:
    """A stored dense array of any number of dimensions; a row is an item along the first.

    Parameters
    ----------
    array
        The stored array.
    dtype
        Dtype of the values before they were narrowed for storage.
    """

    def __init__(self, array: StoredArray, *, dtype: np.dtype) -> None:
        self.array = array
        self.arrays = (array,)
        self.shape = array.shape
        self.dtype = dtype

    def with_values(self, array: StoredArray) -> DenseSource:
        """Return the matrix with another reader of its values."""
        return DenseSource(array, dtype=self.dtype)

    def check_rows(self, n_rows: int) -> None:
        """Raise if hardly anything of as many rows is stored, before memory is taken for them."""
        self.array.check_bytes(n_rows * math.prod(self.shape[1:]) * self.dtype.itemsize)

    def describe(self) -> str:
        """Describe how the array is read."""
        return f"dense, {self.array.describe()}"
