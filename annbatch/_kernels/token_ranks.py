"""Kernels of the encoders that order genes by value: :class:`~annbatch.tokens.GeneformerRanks` and ``TopGenes``."""

from __future__ import annotations

import numba as nb
import numpy as np

from .jit import inner, kernel
from .normalize import row_total
from .token_order import N_BUCKETS, descending_keys, sort_by_key


@inner
def all_positive(row: np.ndarray) -> bool:
    """Return whether all values are positive and finite."""
    wrong = False  # no branch, so that it vectorizes
    for j in range(row.size):
        wrong |= not (row[j] > 0 and row[j] < np.inf)
    return not wrong


@inner
def all_finite(row: np.ndarray) -> bool:
    """Return whether all values are finite."""
    wrong = False
    for j in range(row.size):
        wrong |= not np.isfinite(row[j])
    return not wrong


@nb.njit(nogil=True, cache=True, error_model="numpy")  # or each division is checked, and none vectorized
def scale_by(values: np.ndarray, total: float, target_sum: float, divisors: np.ndarray) -> None:
    """Divide values by a total, multiply by another, and divide by a number of each, rounding each time."""
    for j in range(values.size):
        values[j] = values[j] / total * target_sum / divisors[j]


@inner
def longest_row(indptr: np.ndarray) -> int:
    """Return the number of elements of the longest row."""
    most = 0
    for i in range(indptr.size - 1):
        most = max(most, indptr[i + 1] - indptr[i])
    return most


@kernel
def rank_rows(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    columns: np.ndarray,
    medians: np.ndarray,
    target_sum: float,
    specials: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    length: np.ndarray,
) -> int:
    """Write the ids of each row's genes, by descending ``value / total * target_sum / median``.

    Parameters
    ----------
    data, indices, indptr
        Canonical rows.
    columns
        ``(n_columns,)`` id of each column, -1 for those left out.
    medians
        ``(n_columns,)`` float64; empty to order by the values themselves, which may then be negative.
    target_sum
        Total of each row, which counts the columns that are left out.
    specials
        Ids before the first and behind the last gene; empty for none.
    ids, values, length
        Tokens of the rows.

    Returns
    -------
    int
        A row with a value that cannot be ranked, or -1.
    """
    size = longest_row(indptr)
    scaled, divisors = np.empty(size + 1, np.float64), np.empty(size + 1, np.float64)
    keys, sorted_keys = np.empty(size, np.uint64), np.empty(size, np.uint64)
    known, places, order = np.empty(size + 1, np.int32), np.arange(size).astype(np.int32), np.empty(size, np.int32)
    buckets = np.empty(N_BUCKETS, np.int32)
    room = ids.shape[1] - specials.size
    first = 1 if specials.size else 0
    for i in range(indptr.size - 1):
        row, at = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        n = 0
        for j in range(row.size):  # no branch, and no division, which vectorizes below
            column = columns[at[j]]
            known[n], scaled[n] = column, row[j]
            if medians.size:
                divisors[n] = medians[at[j]]
            n += column >= 0
        if medians.size:
            if not all_positive(row):
                return i
            scale_by(scaled[:n], row_total(row), target_sum, divisors[:n])
        if not all_finite(scaled[:n]):
            return i
        descending_keys(scaled[:n], keys)
        sort_by_key(keys[:n], places[:n], room, buckets, sorted_keys[:n], order[:n])
        n = min(n, room)
        out_ids, out_values = ids[i], values[i]
        if specials.size:
            out_ids[0], out_values[0] = specials[0], 0
            out_ids[n + 1], out_values[n + 1] = specials[1], 0
        out_ids, out_values = out_ids[first : first + n], out_values[first : first + n]
        for k in range(n):
            out_ids[k], out_values[k] = known[order[k]], scaled[order[k]]
        length[i] = n + specials.size
    return -1
