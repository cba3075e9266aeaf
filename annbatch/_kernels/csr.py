"""Kernels that turn stored CSR rows into dense ones, or into sparse ones of other columns, as they are decoded.

Column numbers and values are decoded together, a stretch at a time, into scratch memory that stays in the core's cache;
what is kept goes to its place, and nothing else is ever written.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .copy import LARGE, LONG, fence, place
from .decode import DONE, Fields, StoredChunks, read_values
from .intrinsics import borrowed
from .lookup import find_wanted
from .normalize import normalize_row, scratch_like


@nb.njit(nogil=True, cache=True)
def add_dense(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    columns: np.ndarray,
    wanted: np.ndarray,
    target_sum: float | None,
    positions: np.ndarray,
    scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """Make one stretch's rows dense.

    A row is put together in the core's cache and then written to its place, once, in order and past the caches: zeroing
    it and adding to it there would fetch each of its lines first. A row that lies in several stretches is added to in
    its place, part by part.

    Parameters
    ----------
    values, indices
        Elements ``low:high`` of the matrix.
    piece
        First piece that reaches into the stretch.
    pieces
        ``start``, ``length`` and ``dest`` of all pieces; ``dest`` is where in ``out`` the dense row begins.
    columns
        ``(n_stored_columns,)`` where each stored column goes, -1 for nowhere; empty: each stays where it is.
    wanted
        :func:`~annbatch._hits.bits_of` the columns that go somewhere.
    target_sum
        As :func:`~annbatch._normalize.normalize_row` takes it; None, for which numba compiles a kernel without that
        branch, leaves the values as they are.
    positions
        Scratch memory of integers, as long as the longest part of a row in a stretch.
    scratch
        ``(n_columns,)`` zeros of ``out``'s dtype, and zeros again afterwards.
    out
        Flat. Another thread may read it after a :func:`~annbatch._place.fence`.
    """
    start, length, dest = pieces
    values, indices, scratch, out = borrowed(values), borrowed(indices), borrowed(scratch), borrowed(out)
    i, width = piece, scratch.size
    past_caches = out.nbytes >= LARGE and scratch.nbytes >= LONG
    if target_sum is not None:
        of_count = scratch_like(out)
    while i < start.size and start[i] < high:
        a, b = max(start[i], low), min(start[i] + length[i], high)
        of, at = values[a - low : b - low], indices[a - low : b - low]
        whole = b - a == length[i]
        row = scratch if whole else out[dest[i] : dest[i] + width]
        if a == start[i] and not whole:
            row[:] = 0
        if columns.size == 0:
            for j in range(b - a):
                row[at[j]] += of[j]
        else:
            n = find_wanted(at, wanted, positions)
            for k in range(n):
                j = positions[k]
                row[columns[at[j]]] += of[j]
        if target_sum is not None and b == start[i] + length[i]:
            normalize_row(row, target_sum, of_count)
        if whole:
            place(row, out[dest[i] : dest[i] + width], past_caches)
            if columns.size == 0:
                for j in range(b - a):
                    row[at[j]] = 0
            else:
                for k in range(n):
                    row[columns[at[positions[k]]]] = 0
        i += 1


@nb.njit(nogil=True, cache=True)
def add_dense_rows(
    values: np.ndarray,
    indices: np.ndarray,
    low: int,
    high: int,
    piece: int,
    pieces: Fields,
    columns: np.ndarray,
    wanted: np.ndarray,
    width: int,
    target_sum: float | None,
    out: np.ndarray,
) -> None:
    """Make rows dense, ``width`` columns wide, all of whose elements are here; see :func:`add_dense`."""
    scratch = np.zeros(width, out.dtype)
    positions = np.empty(longest(pieces[1]) if columns.size else 0, np.int32)
    add_dense(values, indices, low, high, piece, pieces, columns, wanted, target_sum, positions, scratch, out)
    fence()


@nb.njit(nogil=True, cache=True)
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
    """Append one stretch's part of each row, as far as its columns are wanted, to what was kept so far.

    Parameters
    ----------
    values, indices, low, high, piece, pieces
        As for :func:`add_dense`; no row twice, and ``dest`` is not looked at.
    selection
        ``(n_stored_columns,)`` new number of each stored column, -1 for those that are not wanted; and
        :func:`~annbatch._hits.bits_of` those that are.
    cursor
        ``(1,)`` first free place; there is room for all elements of all pieces behind it.
    begin, count
        ``(n_pieces,)`` where each row's elements begin, and how many there are; ``count`` is zero at first.
    out_values, out_indices
        Flat.
    """
    start, length, _ = pieces
    columns, wanted = selection
    values, indices = borrowed(values), borrowed(indices)
    out_values, out_indices = borrowed(out_values), borrowed(out_indices)
    i = piece
    while i < start.size and start[i] < high:
        a, b = max(start[i], low), min(start[i] + length[i], high)
        of, at = values[a - low : b - low], indices[a - low : b - low]
        free = cursor[0]
        if a == start[i]:
            begin[i] = free
        to_values, to_indices = out_values[free:], out_indices[free:]
        n = find_wanted(at, wanted, to_indices)
        for k in range(n):
            j = to_indices[k]
            to_values[k] = of[j]
            to_indices[k] = columns[at[j]]
        cursor[0] = free + n
        count[i] += n
        i += 1


@nb.njit(nogil=True, cache=True)
def read_renumbered(
    array: StoredChunks, reads: Fields, pieces: Fields, columns: np.ndarray, out: np.ndarray
) -> tuple[int, int, int]:
    """Read stretches of column numbers and copy their pieces to ``out``, as ``columns`` numbers them anew.

    Returns as ``read_pieces`` does.
    """
    start, length, dest = pieces
    total = 0
    for r in range(reads[0].size):
        low, high = reads[1][r], reads[2][r]
        status, fetched, values = read_values(array, reads, r)
        if status != DONE:
            return status, r, total
        total += fetched
        i = reads[3][r]
        while i < start.size and start[i] < high:
            a, b = max(start[i], low), min(start[i] + length[i], high)
            to, of = out[dest[i] + a - start[i] : dest[i] + b - start[i]], values[a - low : b - low]
            for j in range(b - a):
                to[j] = columns[of[j]]
            i += 1
    return DONE, 0, total


@nb.njit(nogil=True, cache=True)
def read_both(
    data: StoredChunks, indices: StoredChunks, reads: Fields, r: int
) -> tuple[int, int, int, np.ndarray, np.ndarray]:
    """Read stretch ``r`` of both arrays of a CSR matrix, whose chunks hold the same elements.

    Returns ``DONE`` or an error; the number of the stretch, ``-1 - r`` where it is ``indices`` that the error concerns;
    bytes fetched; values and column numbers.
    """
    status, fetched, at = read_values(indices, reads, r)
    if status != DONE:
        return status, -1 - r, fetched, data[9][:0], at
    status, fetched_too, values = read_values(data, reads, r)
    return status, r, fetched + fetched_too, values, at


@nb.njit(nogil=True, cache=True)
def read_dense(
    data: StoredChunks,
    indices: StoredChunks,
    reads: Fields,
    pieces: Fields,
    columns: np.ndarray,
    wanted: np.ndarray,
    width: int,
    target_sum: float | None,
    out: np.ndarray,
) -> tuple[int, int, int]:
    """Read stretches of both arrays of a CSR matrix into dense rows.

    Returns as ``read_pieces`` does, the number of the stretch as :func:`read_both` has it.
    """
    total = 0
    scratch = np.zeros(width, out.dtype)
    positions = np.empty(longest(pieces[1]) if columns.size else 0, np.int32)
    for r in range(reads[0].size):
        status, number, fetched, values, at = read_both(data, indices, reads, r)
        if status != DONE:
            return status, number, total
        total += fetched
        low, high, piece = reads[1][r], reads[2][r], reads[3][r]
        add_dense(values, at, low, high, piece, pieces, columns, wanted, target_sum, positions, scratch, out)
    fence()
    return DONE, 0, total


@nb.njit(nogil=True, cache=True)
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
    """Read stretches of both arrays of a CSR matrix and keep what is wanted; returns as :func:`read_dense` does."""
    total = 0
    for r in range(reads[0].size):
        status, number, fetched, values, at = read_both(data, indices, reads, r)
        if status != DONE:
            return status, number, total
        total += fetched
        keep_selected(
            values,
            at,
            reads[1][r],
            reads[2][r],
            reads[3][r],
            pieces,
            selection,
            cursor,
            begin,
            count,
            out_values,
            out_indices,
        )
    return DONE, 0, total


@nb.njit(nogil=True, cache=True)
def column_range(indices: np.ndarray, start: np.ndarray, length: np.ndarray) -> tuple[int, int]:
    """Return the smallest and the largest column number of pieces; 0 and 0 where they hold none."""
    lowest = highest = np.int64(0)
    for i in range(start.size):
        for column in indices[start[i] : start[i] + length[i]]:
            lowest, highest = min(lowest, np.int64(column)), max(highest, np.int64(column))
    return int(lowest), int(highest)


@nb.njit(nogil=True, cache=True)
def zero_rows(dest: np.ndarray, width: int, out: np.ndarray) -> None:
    """Zero the rows that begin at ``dest``: those that store nothing are met by no stretch."""
    for i in range(dest.size):
        out[dest[i] : dest[i] + width] = 0


@nb.njit(nogil=True, cache=True)
def longest(length: np.ndarray) -> int:
    """Return the largest length, 0 where there is none."""
    most = 0
    for n in length:
        most = max(most, n)
    return most
