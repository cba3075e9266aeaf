"""Make stored CSR rows dense, or select columns of them, while they are decoded.

Column numbers and values are decoded together, a stretch at a time, into scratch memory that stays in the core's cache.
Only selected elements are ever copied out of it.
"""

from __future__ import annotations

import numpy as np

from .copy import LARGE, LONG, copy, fence
from .decode import Fields, StoredChunks, read_values
from .fetch import DONE
from .intrinsics import borrowed
from .jit import inner, kernel
from .lookup import find_selected
from .normalize import normalize_row, scratch_like


@kernel
def add_dense(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    columns: np.ndarray,
    selected: np.ndarray,
    target_sum: float | None,
    positions: np.ndarray,
    scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """Make the rows of one stretch dense.

    A row is assembled in the core's cache, then copied to ``out`` once, in order, with non-temporal stores: zeroing it
    and adding to it in ``out`` would fetch each of its cache lines first. A row that crosses stretches is added to in
    ``out``, part by part.

    Parameters
    ----------
    values, indices
        Elements ``low:high`` of the matrix.
    piece
        First piece that reaches into the stretch.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces; a dense row begins at ``dest`` in ``out``.
    columns
        ``(n_stored_columns,)`` new number of each stored column, -1 for those not selected; empty to keep all.
    selected
        ``columns >= 0``.
    target_sum
        Sum for :func:`~annbatch._kernels.normalize.normalize_row`; None to leave values unchanged, for which numba
        compiles a kernel without that branch.
    positions
        Scratch memory of integers, as long as the longest part of a row in a stretch.
    scratch
        ``(n_columns,)`` zeros of ``out``'s dtype; zeros again on return.
    out
        Flat. Other threads may read it after a :func:`~annbatch._kernels.copy.fence`.
    """
    start, length, dest = pieces
    values, indices, scratch, out = borrowed(values), borrowed(indices), borrowed(scratch), borrowed(out)
    i, width = piece, scratch.size
    non_temporal = out.nbytes >= LARGE and scratch.nbytes >= LONG
    if target_sum is not None:
        log_of_count = scratch_like(out)
    while i < start.size and start[i] < high:
        a, b = max(start[i], low), min(start[i] + length[i], high)
        row_values, row_columns = values[a - low : b - low], indices[a - low : b - low]
        whole = b - a == length[i]
        row = scratch if whole else out[dest[i] : dest[i] + width]
        if a == start[i] and not whole:
            row[:] = 0
        if columns.size == 0:
            for j in range(b - a):
                row[row_columns[j]] += row_values[j]
        else:
            n = find_selected(row_columns, selected, positions)
            for k in range(n):
                j = positions[k]
                row[columns[row_columns[j]]] += row_values[j]
        if target_sum is not None and b == start[i] + length[i]:
            normalize_row(row, target_sum, log_of_count)
        if whole:
            copy(row, out[dest[i] : dest[i] + width], non_temporal)
            if columns.size == 0:
                for j in range(b - a):
                    row[row_columns[j]] = 0
            else:
                for k in range(n):
                    row[columns[row_columns[positions[k]]]] = 0
        i += 1


@kernel
def add_dense_rows(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    columns: np.ndarray,
    selected: np.ndarray,
    width: int,
    target_sum: float | None,
    out: np.ndarray,
) -> None:
    """Make rows dense, ``width`` columns wide, from elements in memory; see :func:`add_dense`."""
    scratch = np.zeros(width, out.dtype)
    positions = np.empty(longest(pieces[1]) if columns.size else 0, np.int32)
    add_dense(values, indices, low, high, piece, pieces, columns, selected, target_sum, positions, scratch, out)
    fence()


@kernel
def keep_selected(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    selection: Fields,
    cursor: np.ndarray,
    begin: np.ndarray,
    count: np.ndarray,
    out_values: np.ndarray,
    out_indices: np.ndarray,
) -> None:
    """Append the selected elements of one stretch to those kept so far.

    Parameters
    ----------
    values, indices, low, high, piece, pieces
        As for :func:`add_dense`; no row twice, and ``dest`` is ignored.
    selection
        ``columns`` and ``selected`` of :func:`add_dense`.
    cursor
        ``(1,)`` first free position, with room for all elements of all pieces behind it.
    begin, count
        ``(n_pieces,)`` first element of each row, and number of its elements; ``count`` must be zero at first.
    out_values, out_indices
        Flat.
    """
    start, length, _ = pieces
    columns, selected = selection
    values, indices = borrowed(values), borrowed(indices)
    out_values, out_indices = borrowed(out_values), borrowed(out_indices)
    i = piece
    while i < start.size and start[i] < high:
        a, b = max(start[i], low), min(start[i] + length[i], high)
        row_values, row_columns = values[a - low : b - low], indices[a - low : b - low]
        free = cursor[0]
        if a == start[i]:
            begin[i] = free
        to_values, to_indices = out_values[free:], out_indices[free:]
        n = find_selected(row_columns, selected, to_indices)
        for k in range(n):
            j = to_indices[k]
            to_values[k] = row_values[j]
            to_indices[k] = columns[row_columns[j]]
        cursor[0] = free + n
        count[i] += n
        i += 1


@kernel
def read_renumbered(
    array: StoredChunks, reads: Fields, pieces: Fields, columns: np.ndarray, out: np.ndarray
) -> tuple[int, int, int]:
    """Read stretches of column numbers and copy their pieces to ``out``, renumbered by ``columns``.

    Returns what :func:`~annbatch._kernels.decode.read_pieces` returns.
    """
    _, starts, stops, first_piece = reads
    start, length, dest = pieces
    total = 0
    for r in range(starts.size):
        low, high = starts[r], stops[r]
        status, fetched, values = read_values(array, reads, r)
        if status != DONE:
            return status, r, total
        total += fetched
        i = first_piece[r]
        while i < start.size and start[i] < high:
            a, b = max(start[i], low), min(start[i] + length[i], high)
            target, source = out[dest[i] + a - start[i] : dest[i] + b - start[i]], values[a - low : b - low]
            for j in range(b - a):
                target[j] = columns[source[j]]
            i += 1
    return DONE, 0, total


@inner
def read_both(
    data: StoredChunks, indices: StoredChunks, reads: Fields, r: int
) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    """Read stretch ``r`` of both arrays of a CSR matrix, whose chunks hold the same elements.

    Returns ``DONE`` or an error; the number of the stretch, ``-1 - r`` for an error in ``indices``; bytes fetched;
    values and column numbers.
    """
    status, fetched, numbers = read_values(indices, reads, r)
    if status != DONE:
        return status, -1 - r, fetched, data.values[:0], numbers
    status, fetched_too, values = read_values(data, reads, r)
    return status, r, fetched + fetched_too, values, numbers


@kernel
def read_dense(
    data: StoredChunks,
    indices: StoredChunks,
    reads: Fields,
    pieces: Fields,
    columns: np.ndarray,
    selected: np.ndarray,
    width: int,
    target_sum: float | None,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches of both arrays of a CSR matrix into dense rows.

    Returns what :func:`~annbatch._kernels.decode.read_pieces` returns, with the number of the stretch as in
    :func:`read_both`.
    """
    _, starts, stops, first_piece = reads
    total = 0
    scratch = np.zeros(width, out.dtype)
    positions = np.empty(longest(pieces[1]) if columns.size else 0, np.int32)
    for r in range(starts.size):
        status, number, fetched, values, numbers = read_both(data, indices, reads, r)
        if status != DONE:
            return status, number, total
        total += fetched
        low, high, piece = starts[r], stops[r], first_piece[r]
        add_dense(values, numbers, low, high, piece, pieces, columns, selected, target_sum, positions, scratch, out)
    fence()
    return DONE, 0, total


@kernel
def read_selected(
    data: StoredChunks,
    indices: StoredChunks,
    reads: Fields,
    pieces: Fields,
    selection: Fields,
    cursor: np.ndarray,
    begin: np.ndarray,
    count: np.ndarray,
    out_values: np.ndarray,
    out_indices: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches of both arrays of a CSR matrix and keep selected elements; returns as :func:`read_dense`."""
    _, starts, stops, first_piece = reads
    total = 0
    for r in range(starts.size):
        status, number, fetched, values, numbers = read_both(data, indices, reads, r)
        if status != DONE:
            return status, number, total
        total += fetched
        keep_selected(
            values,
            numbers,
            starts[r],
            stops[r],
            first_piece[r],
            pieces,
            selection,
            cursor,
            begin,
            count,
            out_values,
            out_indices,
        )
    return DONE, 0, total


@kernel
def column_range(indices: np.ndarray, start: np.ndarray, length: np.ndarray) -> tuple[int, int]:
    """Return the smallest and the largest of 0 and the column numbers of pieces."""
    lowest = highest = np.int64(0)
    for i in range(start.size):
        for column in indices[start[i] : start[i] + length[i]]:
            lowest, highest = min(lowest, np.int64(column)), max(highest, np.int64(column))
    return int(lowest), int(highest)


@kernel
def zero_rows(dest: np.ndarray, width: int, out: np.ndarray) -> None:
    """Zero the rows that begin at ``dest``: no stretch holds rows without elements."""
    for i in range(dest.size):
        out[dest[i] : dest[i] + width] = 0


@inner
def longest(length: np.ndarray) -> int:
    """Return the largest length, 0 if there is none."""
    most = 0
    for n in length:
        most = max(most, n)
    return most
