"""The rows of one matrix: CSR or dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    n_columns
        Number of columns.
    dtype
        Dtype of the values before they were narrowed for storage.
    """

    def __init__(
        self,
        data: StoredArray,
        indices: StoredArray,
        indptr: HeldValues | StoredValues,
        *,
        n_columns: int,
        dtype: np.dtype,
    ) -> None:
        if len(data.shape) != 1 or data.shape != indices.shape:
            raise CorruptDataError(
                f"A CSR matrix must have a column number per value, got {indices.shape} for {data.shape}: damaged."
            )
        if indptr.size < 1 or n_columns < 0:
            raise CorruptDataError(
                f"A CSR matrix must have an indptr and columns, got {indptr.size} entries and {n_columns}: damaged."
            )
        for name, dtype_ in (("indices", indices.dtype), ("indptr", indptr.dtype)):
            if dtype_.kind not in "iu":
                raise CorruptDataError(f"`{name}` of a CSR matrix must hold integers, got {dtype_}: damaged.")
        self.data = data
        self.indices = indices
        self.arrays = (data, indices)
        self.shape = (indptr.size - 1, n_columns)
        self.dtype = dtype
        self._indptr = indptr

    def extents(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first element and the number of elements of each row, as int64.

        Parameters
        ----------
        rows
            ``(n,)`` int64 row numbers, ascending; a row may repeat.

        Raises
        ------
        CorruptDataError
            If ``indptr`` descends, or points beyond the values.
        """
        start, stop = (values.astype(np.int64, copy=False) for values in self._indptr.pairs(rows))
        wrong = (start < 0) | (start > stop) | (stop > self.data.shape[0])
        wrong[1:] |= (start[1:] < stop[:-1]) & (rows[1:] != rows[:-1])
        if wrong.any():
            raise CorruptDataError(
                f"`indptr` must ascend from 0 to {self.data.shape[0]}, the number of stored values, but does not in "
                f"rows {rows.min()}..{rows.max()}: damaged."
            )
        return start, stop - start

    @property
    def pair(self) -> CsrPair:
        """Both arrays, for reading them together."""
        return CsrPair(self.data, self.indices, n_columns=self.shape[1])

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

    def describe(self) -> str:
        """Describe how the array is read."""
        return f"dense, {self.array.describe()}"
