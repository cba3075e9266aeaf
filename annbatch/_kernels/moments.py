"""Moments of the values of each column of a CSR matrix, added up while they are decoded; and the sums of rows.

Nearly all values of single cells are small counts. The number, sum and sum of squares of these lie in one integer per
column, so that adding a value takes one addition, in memory that fits into a core's cache: 1.2 ns instead of 3.5.
The oracle, a few lines of NumPy, is in ``tests/core/test_statistics.py``.
"""

from __future__ import annotations

import numpy as np

from .csr import read_both
from .decode import Fields, StoredChunks
from .fetch import DONE
from .intrinsics import borrowed
from .jit import inner, kernel
from .normalize import row_total
from .repeats import ascends

MOST_ROWS = 1 << 14
"""Rows that can be added up before the sums of small counts have to be taken out."""

_SMALL = 64
_SUM, _SQUARES = 15, 36  # first bits of the sum, and of that of squares: MOST_ROWS of 63 fill neither
_PACKED = np.array([v * v << _SQUARES | v << _SUM | (v > 0) for v in range(_SMALL)])
UNSORTED, OTHERS, LAST = range(3)
"""Entries of ``state``: whether a row does not ascend, and may repeat a column; whether there are values other than
small counts; the last column number of the row part before."""


def unpacked(small: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, sum and sum of squares, which the integers of :func:`add_moments` hold."""
    return small & (1 << _SUM) - 1, small >> _SUM & (1 << _SQUARES - _SUM) - 1, small >> _SQUARES


@inner
def _add(value: float, column: np.integer, others: np.ndarray, state: np.ndarray) -> None:
    moments = others[column]
    if moments[0] == 0 and np.isfinite(value):
        moments[1] = value
    deviation = np.float64(value) - moments[1]
    moments[0] += 1
    moments[2] += deviation
    moments[3] += deviation * deviation
    state[OTHERS] = 1


@inner
def _count(row: np.ndarray) -> int:
    n = 0
    for j in range(row.size):
        n += row[j] != 0
    return n


@kernel
def add_moments(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    columns: np.ndarray,
    small: np.ndarray,
    others: np.ndarray,
    rows: np.ndarray,
    state: np.ndarray,
) -> None:
    """Add the values of one stretch to the moments of their columns, and to the sums of their rows.

    Parameters
    ----------
    values, indices
        Elements ``low:high`` of the matrix; column numbers are in range.
    piece
        First piece that reaches into the stretch.
    pieces
        ``start``, ``length`` and ``dest`` of at most :data:`MOST_ROWS` rows, none empty; ``dest`` is where in ``rows``
        their sums are.
    columns
        ``(n_stored_columns,)`` new number of each stored column, -1 for those not selected; empty to keep all.
    small
        ``(n_columns,)`` int64, added to, of values that are integers below 64; see :func:`unpacked`.
    others
        ``(n_columns, 4)`` float64, added to, of other values: their number, the first of them, and the sums of the
        deviations from it and of their squares. Large values that hardly differ therefore lose no digits.
    rows
        ``(n_rows, 2)`` float64, added to: sum of each row, and its number of non-zeros.
    state
        ``(3,)`` int64, which the next stretch is given, too.
    """
    start, length, dest = pieces
    values, indices, small, others = borrowed(values), borrowed(indices), borrowed(small), borrowed(others)
    i = piece
    while i < start.size and start[i] < high:
        a, b = max(start[i], low), min(start[i] + length[i], high)
        row_values, row_columns = values[a - low : b - low], indices[a - low : b - low]
        if row_columns[0] <= (state[LAST] if a > start[i] else -1) or not ascends(row_columns):
            state[UNSORTED] = 1
        state[LAST] = row_columns[b - a - 1]
        if columns.size == 0:
            rows[dest[i], 0] += row_total(row_values)
            rows[dest[i], 1] += _count(row_values)
            for j in range(b - a):
                value, column = row_values[j], np.uint64(row_columns[j])
                whole = np.uint64(np.int64(value))
                if whole < np.uint64(_SMALL) and whole == value:
                    small[column] += _PACKED[whole]
                else:
                    _add(value, column, others, state)
        else:
            total, count = 0.0, 0
            for j in range(b - a):
                column = columns[row_columns[j]]
                if column >= 0:
                    total += row_values[j]
                    count += row_values[j] != 0
                    whole = np.uint64(np.int64(row_values[j]))
                    if whole < np.uint64(_SMALL) and whole == row_values[j]:
                        small[column] += _PACKED[whole]
                    else:
                        _add(row_values[j], column, others, state)
            rows[dest[i], 0] += total
            rows[dest[i], 1] += count
        i += 1


@kernel
def read_moments(
    data: StoredChunks,
    indices: StoredChunks,
    reads: Fields,
    pieces: Fields,
    columns: np.ndarray,
    small: np.ndarray,
    others: np.ndarray,
    rows: np.ndarray,
    state: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches of both arrays of a CSR matrix and add them up.

    Returns what :func:`~annbatch._kernels.csr.read_dense` returns.
    """
    _, starts, stops, first_piece = reads
    total = 0
    for r in range(starts.size):
        status, number, fetched, values, numbers = read_both(data, indices, reads, r)
        if status != DONE:
            return status, number, total
        total += fetched
        add_moments(values, numbers, starts[r], stops[r], first_piece[r], pieces, columns, small, others, rows, state)
    return DONE, 0, total
