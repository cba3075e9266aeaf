"""The neighbours of rows: a few of the columns that each row of a graph stores."""

from __future__ import annotations

import numpy as np

from .jit import kernel


@kernel
def choose_neighbors(
    keys: np.ndarray, columns: np.ndarray, indptr: np.ndarray, rows: np.ndarray, chosen: np.ndarray
) -> None:
    """Choose the columns of each row that have the largest keys, but for the row itself.

    Parameters
    ----------
    keys
        ``(nnz,)`` float64, none of them NaN; of equal ones, the smaller column comes first.
    columns, indptr
        ``(nnz,)`` int64 columns, and ``(n_rows + 1,)`` where rows begin in them.
    rows
        ``(n_rows,)`` int64 number of each row among the columns.
    chosen
        ``(n_rows, count)`` int64 output: places in ``columns``, the largest key first; -1 where there are no more.
    """
    count = chosen.shape[1]
    for i in range(rows.size):
        best, n = chosen[i], 0
        for j in range(indptr[i], indptr[i + 1]):
            if columns[j] == rows[i]:
                continue
            at = n
            while at > 0:
                other = best[at - 1]
                if keys[j] < keys[other] or (keys[j] == keys[other] and columns[j] > columns[other]):
                    break
                if at < count:
                    best[at] = other
                at -= 1
            if at < count:
                best[at] = j
                n = min(n + 1, count)
        best[n:] = -1
