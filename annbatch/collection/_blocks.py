"""Rows of one element in memory; rows of several blocks gathered in a new order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from sys import getsizeof
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .._kernels.scatter import scatter_cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._resources.pages import RowMemory


def string_bytes(values: np.ndarray) -> int:
    """Return the bytes of an array of objects and of the strings in it."""
    return int(values.nbytes) + sum(map(getsizeof, values.tolist()))


@dataclass(frozen=True, slots=True)
class DenseRows:
    """Rows of a dense array, or of one column of a table.

    Attributes
    ----------
    values
        ``(n_rows, ...)``. Columns of strings are object arrays of ``str`` and ``None``; nullable columns are structured
        arrays with the fields ``value`` and ``missing``.
    """

    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes held, by strings too."""
        return string_bytes(self.values) if self.values.dtype.hasobject else int(self.values.nbytes)

    def astype(self, dtype: np.dtype) -> DenseRows:
        """Return the rows with values of another dtype; themselves if they have it already."""
        return self if self.values.dtype == dtype else DenseRows(self.values.astype(dtype))

    def part(self, start: int, stop: int) -> DenseRows:
        """Return rows ``start:stop``, sharing memory."""
        return DenseRows(self.values[start:stop])


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Rows of a CSR matrix.

    Attributes
    ----------
    data, indices
        ``(nnz,)``, in the order in which they were stored.
    indptr
        ``(n_rows + 1,)`` int64, from 0 to ``nnz``.
    ascending
        Whether the column numbers of each row are known to ascend.
    """

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    ascending: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.data.nbytes + self.indices.nbytes + self.indptr.nbytes)

    def astype(self, dtype: np.dtype) -> SparseRows:
        """Return the rows with values of another dtype; themselves if they have it already."""
        return self if self.data.dtype == dtype else replace(self, data=self.data.astype(dtype))

    def part(self, start: int, stop: int) -> SparseRows:
        """Return rows ``start:stop``, sharing ``data`` and ``indices``."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - first
        return SparseRows(self.data[first:last], self.indices[first:last], indptr, ascending=self.ascending)


Rows: TypeAlias = DenseRows | SparseRows
Block: TypeAlias = dict[str, Rows]
"""The same rows of every element, by the element's path."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Sources of rows: row ``row[i]`` of block ``block[i]`` becomes row ``i``."""

    block: np.ndarray
    row: np.ndarray

    def __post_init__(self) -> None:
        if self.block.shape != self.row.shape:
            raise ValueError(f"`block` and `row` must have one shape, got {self.block.shape} and {self.row.shape}.")

    def part(self, start: int, stop: int) -> Pick:
        """Return the sources of rows ``start:stop``."""
        return Pick(self.block[start:stop], self.row[start:stop])

    def by_block(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the number of each block that occurs, the positions that it fills, and its rows for them."""
        order = np.argsort(self.block, kind="stable")
        numbers, first = np.unique(self.block[order], return_index=True)
        for number, positions in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
            yield number, positions, self.row[positions]


def gather(blocks: Sequence[Block], pick: Pick, memory: RowMemory) -> Block:
    """Return the picked rows of every element as one new block.

    Parameters
    ----------
    blocks
        Blocks of the same elements; an element has the same dtypes in all of them.
    pick
        Rows, in the requested order.
    memory
        Lends the block's sparse parts.
    """
    groups = list(pick.by_block())
    n_rows = len(pick.row)
    return {path: _gather([block[path] for block in blocks], groups, n_rows, memory) for path in blocks[0]}


def _gather(
    parts: Sequence[Rows], groups: list[tuple[int, np.ndarray, np.ndarray]], n_rows: int, memory: RowMemory
) -> Rows:
    first = parts[0]
    if isinstance(first, DenseRows):
        values = np.empty((n_rows, *first.values.shape[1:]), first.values.dtype)
        for number, positions, rows in groups:
            part = parts[number]
            assert isinstance(part, DenseRows)
            values[positions] = part.values[rows]
        return DenseRows(values)
    starts, lengths = np.empty(n_rows, np.int64), np.empty(n_rows, np.int64)
    for number, positions, rows in groups:
        part = parts[number]
        assert isinstance(part, SparseRows)
        starts[positions] = part.indptr[rows]
        lengths[positions] = part.indptr[rows + 1] - part.indptr[rows]
    indptr = np.zeros(n_rows + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    nnz = int(indptr[-1])
    data, indices = memory.empty(nnz, first.data.dtype), memory.empty(nnz, first.indices.dtype)
    for number, positions, _ in groups:
        part = parts[number]
        assert isinstance(part, SparseRows)
        pieces = starts[positions], lengths[positions], indptr[positions]
        scatter_cast(part.data, *pieces, data)
        scatter_cast(part.indices, *pieces, indices)
    return SparseRows(data, indices, indptr)
