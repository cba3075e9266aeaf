"""Transpose CSC to CSR, piece by piece."""

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(nogil=True, cache=True)
def transpose(
    indices: np.ndarray,
    data: np.ndarray,
    begin: int,
    column: int,
    indptr: np.ndarray,
    first: int,
    fill: np.ndarray,
    out_indices: np.ndarray,
    out_data: np.ndarray,
) -> int:
    """Put the values of a stretch of a CSC matrix that belong to a window of rows in their places.

    Parameters
    ----------
    indices, data
        The stretch: row numbers and values.
    begin, column
        Where in the matrix it begins, and in which column that may be at the earliest.
    indptr
        Of the matrix.
    first
        First row of the window.
    fill
        Where the next value of each row of the window goes; moves on.
    out_indices, out_data
        The window as CSR.

    Returns
    -------
    int
        The column of the last value.
    """
    for i in range(indices.size):
        while begin + i >= indptr[column + 1]:
            column += 1
        row = np.int64(indices[i]) - first
        if 0 <= row < fill.size and fill[row] < out_indices.size:
            out_indices[fill[row]] = column
            out_data[fill[row]] = data[i]
            fill[row] += 1
    return column
