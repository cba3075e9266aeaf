"""Sort the elements of rows by column number."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .intrinsics import intrinsic
from .jit import inner, kernel


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """Return the number of the lowest bit that is set in a uint64, as an int64; one must be."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@kernel
def sort_rows(begin: np.ndarray, count: np.ndarray, n_columns: int, values: np.ndarray, indices: np.ndarray) -> None:
    """Sort the elements of each row in place; the sort is stable.

    Each value is written to the slot of its column, whose bit is set; then the bits are scanned: 46 elements among
    2,000 columns take 0.2 us, a comparison sort takes 2. Rows that are short compared with the number of columns, or
    name a column twice, are sorted by comparison.

    Parameters
    ----------
    begin, count
        ``(n_rows,)`` first element of each row, and number of its elements.
    n_columns
        Exclusive upper bound of the column numbers.
    values, indices
        Flat.
    """
    seen, slot = np.zeros((n_columns + 63) // 64, np.uint64), np.empty(n_columns, values.dtype)
    for i in range(begin.size):
        row, at = values[begin[i] : begin[i] + count[i]], indices[begin[i] : begin[i] + count[i]]
        if seen.size > 4 * at.size or not _sort_by_slot(row, at, seen, slot):
            order = np.argsort(at, kind="mergesort")
            row[:], at[:] = row[order], at[order]


@inner
def _sort_by_slot(values: np.ndarray, indices: np.ndarray, seen: np.ndarray, slot: np.ndarray) -> bool:
    """Sort a row unless it names a column twice, and return whether it did; ``seen``, a bit per column, is zeroed."""
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
            column = 64 * word + lowest_bit(bits)
            indices[k], values[k] = column, slot[column]
            bits &= bits - one
            k += 1
    return not repeated


@kernel
def ascend(indices: np.ndarray, indptr: np.ndarray) -> bool:
    """Return whether the column numbers of no row of a CSR matrix descend."""
    for row in range(indptr.size - 1):
        descends = False
        for j in range(indptr[row] + 1, indptr[row + 1]):
            descends |= indices[j] < indices[j - 1]
        if descends:
            return False
    return True
