"""Put a row's elements into the order of their column numbers."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types

from .intrinsics import intrinsic


@intrinsic
def lowest(typing: Any, bits: Any) -> Any:
    """Return which is the lowest bit of a uint64 that is 1, as an int64; there must be one."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@nb.njit(nogil=True, cache=True)
def sort_rows(begin: np.ndarray, count: np.ndarray, n_columns: int, values: np.ndarray, indices: np.ndarray) -> None:
    """Sort the elements of each row in place; those of one column keep their order.

    Each value goes to the place of its column, whose bit is set, and then the bits are gone through: 46 elements among
    2,000 columns take 0.2 us, sorting them by comparison 2. A row that is short beside its columns, or names one of
    them twice, is sorted by comparison.

    Parameters
    ----------
    begin, count
        ``(n_rows,)`` where each row's elements begin, and how many there are.
    n_columns
        Column numbers lie below it.
    values, indices
        Flat.
    """
    seen, slot = np.zeros((n_columns + 63) // 64, np.uint64), np.empty(n_columns, values.dtype)
    for i in range(begin.size):
        row, at = values[begin[i] : begin[i] + count[i]], indices[begin[i] : begin[i] + count[i]]
        if seen.size > 4 * at.size or not _sort_by_place(row, at, seen, slot):
            order = np.argsort(at, kind="mergesort")
            row[:], at[:] = row[order], at[order]


@nb.njit(nogil=True, cache=True)
def _sort_by_place(values: np.ndarray, indices: np.ndarray, seen: np.ndarray, slot: np.ndarray) -> bool:
    """Sort a row unless it names a column twice; leave ``seen``, a bit a column, all zero as it was."""
    one, last, by_word = np.uint64(1), np.uint64(63), np.uint64(6)
    repeated = np.uint64(0)
    for k in range(indices.size):
        column = np.uint64(indices[k])
        bit = one << (column & last)
        repeated |= seen[column >> by_word] & bit
        seen[column >> by_word] |= bit
        slot[column] = values[k]
    k = 0
    for word in range(seen.size):
        bits = seen[word]
        seen[word] = 0
        while bits and not repeated:
            column = 64 * word + lowest(bits)
            indices[k], values[k] = column, slot[column]
            bits &= bits - one
            k += 1
    return not repeated
