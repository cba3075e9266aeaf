"""Kernels of :class:`annbatch.transforms.NormalizeLog1p`: scale rows to one total, then log1p, in place.

The oracle, three lines of NumPy, is in ``tests/core/test_transforms.py``.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .jit import inner, kernel

_COUNTS = 32
"""log1p of each count below it is computed once per row: it takes some 10 ns, and most counts of a cell are small."""


@nb.njit(nogil=True, cache=True, fastmath={"reassoc", "nsz"})
def row_total(row: np.ndarray) -> float:
    """Return the sum in float64, in any order so that it vectorizes: exact for counts whose sum is below 2**53."""
    total = 0.0
    for j in range(row.size):
        total += row[j]
    return total


@inner
def normalize_row(row: np.ndarray, target_sum: float, log_of_count: np.ndarray) -> None:
    """Replace each value by ``log1p(value * target_sum / total)``, in float64, rounded once.

    Parameters
    ----------
    row
        float32 or float64; not changed if its total is 0.
    target_sum
        Sum of the values before log1p.
    log_of_count
        ``(n,)`` scratch memory of ``row``'s dtype.
    """
    total = row_total(row)
    if total == 0:
        return
    scale = target_sum / total
    for count in range(log_of_count.size):
        log_of_count[count] = np.log1p(count * scale)
    for j in range(row.size):
        value = row[j]
        if 0 <= value < log_of_count.size and value == np.floor(value):
            row[j] = log_of_count[np.intp(value)]
        else:
            row[j] = np.log1p(value * scale)


@inner
def scratch_like(row: np.ndarray) -> np.ndarray:
    """Return scratch memory for :func:`normalize_row`."""
    return np.empty(_COUNTS, row.dtype)


@kernel
def normalize_rows(values: np.ndarray, edges: np.ndarray, target_sum: float) -> None:
    """Call :func:`normalize_row` for each row ``values[edges[i]:edges[i + 1]]``."""
    log_of_count = scratch_like(values)
    for i in range(edges.size - 1):
        normalize_row(values[edges[i] : edges[i + 1]], target_sum, log_of_count)
