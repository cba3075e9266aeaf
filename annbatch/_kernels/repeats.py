"""Columns that a CSR row holds more than once: their values are addends of one number, as in SciPy."""

from __future__ import annotations

import numpy as np

from .jit import inner, kernel


@inner
def ascends(row: np.ndarray) -> bool:
    """Return whether each column number is larger than the one before, so that none repeats."""
    wrong = False  # no branch, so that it vectorizes
    for j in range(1, row.size):
        wrong |= row[j] <= row[j - 1]
    return not wrong


@kernel
def all_ascend(indices: np.ndarray, indptr: np.ndarray) -> bool:
    """Return whether :func:`ascends` holds for each row of a CSR matrix."""
    for i in range(indptr.size - 1):  # noqa: SIM110 - numba compiles no generators
        if not ascends(indices[indptr[i] : indptr[i + 1]]):
            return False
    return True


@kernel
def add_repeats(indices: np.ndarray, indptr: np.ndarray, n_columns: int, values: np.ndarray | None) -> bool:
    """Add up the values of a column that a row repeats, in place: the first becomes the sum, the others 0.

    Parameters
    ----------
    indices, indptr
        Column numbers, and where rows begin in them. A row need not be sorted.
    n_columns
        Number of columns; numbers out of range are left alone.
    values
        Values of the same elements; None to look only.

    Returns
    -------
    bool
        Whether any row repeats a column.
    """
    last = np.empty(0, np.int64)
    repeats = False
    for i in range(indptr.size - 1):
        start, stop = indptr[i], indptr[i + 1]
        if ascends(indices[start:stop]):
            continue
        if last.size == 0:
            last = np.full(n_columns, -1, np.int64)
        for j in range(start, stop):
            column = np.int64(indices[j])
            if not 0 <= column < last.size:
                continue
            if last[column] < start:
                last[column] = j
                continue
            repeats = True
            if values is not None:
                values[last[column]] += values[j]
                values[j] = 0
    return repeats
