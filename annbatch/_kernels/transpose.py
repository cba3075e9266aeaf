"""Transpose CSC to CSR, a stretch at a time."""

from __future__ import annotations

import numpy as np

from .jit import kernel


@kernel
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
    """Copy the values of a stretch of a CSC matrix that are in a window of rows to the window's CSR arrays.

    Parameters
    ----------
    indices, data
        Row numbers and values of the stretch.
    begin
        Position of its first value in the matrix.
    column
        Column of that value, or an earlier one.
    indptr
        The matrix's ``indptr``.
    first
        First row of the window.
    fill
        Position of the next value of each row of the window; updated.
    out_indices, out_data
        The window as CSR.

    Returns
    -------
    int
        Column of the last value.
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
