"""Rows in the one form that encoders are given: ascending columns, each once, and no zeros."""

from __future__ import annotations

import numpy as np

from .jit import inner, kernel
from .repeats import ascends

CANONICAL, OTHER, DAMAGED = 0, 1, 2


@kernel
def check_rows(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, n_columns: int) -> int:
    """Return ``CANONICAL``, ``OTHER``, or ``DAMAGED`` if a column number is out of range."""
    state = CANONICAL
    for i in range(indptr.size - 1):
        row, columns = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        has_zero, lowest, highest = False, np.int64(0), np.int64(0)
        for j in range(row.size):  # no branch, so that it vectorizes
            has_zero |= row[j] == 0
            lowest, highest = min(lowest, np.int64(columns[j])), max(highest, np.int64(columns[j]))
        if row.size and (lowest < 0 or highest >= n_columns):
            return DAMAGED
        if has_zero or not ascends(columns):
            state = OTHER
    return state


@kernel
def canonical_rows(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows with their columns in order, repeated columns added up, and without zeros."""
    size = indptr[-1] - indptr[0]
    out_data, out_indices = np.empty(size, data.dtype), np.empty(size, np.int32)
    out_indptr = np.zeros(indptr.size, np.int64)
    n = 0
    for i in range(indptr.size - 1):
        row, columns = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        order = np.argsort(columns, kind="mergesort")
        begin = n
        for j in order:
            if n > begin and out_indices[n - 1] == columns[j]:
                out_data[n - 1] += row[j]
            else:
                out_data[n], out_indices[n] = row[j], columns[j]
                n += 1
        n = _drop_zeros(out_data, out_indices, begin, n)
        out_indptr[i + 1] = n
    return out_data[:n], out_indices[:n], out_indptr


@inner
def _drop_zeros(data: np.ndarray, indices: np.ndarray, begin: int, end: int) -> int:
    n = begin
    for j in range(begin, end):
        data[n], indices[n] = data[j], indices[j]
        n += data[j] != 0
    return n


@kernel
def rows_of_dense(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the non-zeros of dense rows: values, columns and ``indptr``."""
    n_rows, n_columns = matrix.shape
    indptr = np.zeros(n_rows + 1, np.int64)
    for i in range(n_rows):
        n = 0
        for j in range(n_columns):
            n += matrix[i, j] != 0
        indptr[i + 1] = indptr[i] + n
    data, indices = np.empty(indptr[-1] + 1, matrix.dtype), np.empty(indptr[-1] + 1, np.int32)
    for i in range(n_rows):
        n = indptr[i]
        for j in range(n_columns):  # the element behind the last is room for what the last row leaves out
            data[n], indices[n] = matrix[i, j], j
            n += matrix[i, j] != 0
            if n == indptr[i + 1]:
                break
    return data[:-1], indices[:-1], indptr
