"""Rows of elements in memory; rows of several blocks gathered in a new order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from sys import getsizeof
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .._kernels.gather import gather_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Stack:
    """Rows of several blocks, one block below the other, which are gathered in any order.

    Parameters
    ----------
    blocks
        Blocks of the same elements; an element has the same dtypes in all of them. Their memory is kept alive.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        lengths = [len(next(iter(block.values()))) for block in blocks]
        self._firsts = np.cumsum([0, *lengths])
        self._elements = {path: _stack([block[path] for block in blocks]) for path in (blocks[0] if blocks else ())}

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def dense_row_bytes(self) -> float:
        """Average bytes per row that gathering copies: not of strings themselves, nor of sparse elements."""
        dense = [one for one in self._elements.values() if not isinstance(one, _SparseStack)]
        return max(1.0, sum(one.row_bytes for one in dense))

    def sparse_row_bytes(self, rows: np.ndarray) -> np.ndarray:
        """Return the bytes of rows in sparse elements, ``(n_rows,)``: rows may differ a thousandfold."""
        block = self._block_of(rows)
        sizes = np.zeros(len(rows), np.int64)
        for one in self._elements.values():
            if isinstance(one, _SparseStack):
                sizes += one.row_bytes(rows, block)
        return sizes

    def gather(self, rows: np.ndarray, memory: RowMemory) -> Block:
        """Return rows, by their numbers through all blocks, as one new block, for which ``memory`` lends memory."""
        block = self._block_of(rows)
        relative = rows - self._firsts[block]
        return {path: one.gather(rows, block, relative, memory) for path, one in self._elements.items()}

    def _block_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._firsts, rows, side="right") - 1


def _stack(parts: Sequence[Rows]) -> _SparseStack | _DenseStack | _ObjectStack:
    if isinstance(parts[0], SparseRows):
        return _SparseStack(parts)  # type: ignore[arg-type]  # an element is of one kind in all blocks
    is_object = parts[0].values.dtype.hasobject
    return (_ObjectStack if is_object else _DenseStack)(parts)  # type: ignore[arg-type]  # as above


def _addresses(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.array([part.ctypes.data for part in parts], np.int64)


class _SparseStack:
    """CSR rows: one ``indptr`` for all blocks, which each contribute one number more than rows."""

    def __init__(self, parts: Sequence[SparseRows]) -> None:
        self._arrays = [[part.data for part in parts], [part.indices for part in parts]]
        self._addresses = [_addresses(arrays) for arrays in self._arrays]
        self._indptr = np.concatenate([part.indptr for part in parts])

    def row_bytes(self, rows: np.ndarray, block: np.ndarray) -> np.ndarray:
        at = rows + block
        width = sum(arrays[0].itemsize for arrays in self._arrays)
        sizes: np.ndarray = 8 + (self._indptr[at + 1] - self._indptr[at]) * width
        return sizes

    def gather(self, rows: np.ndarray, block: np.ndarray, relative: np.ndarray, memory: RowMemory) -> SparseRows:
        at = rows + block
        start = self._indptr[at]
        length = self._indptr[at + 1] - start
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(length, out=indptr[1:])
        outs = [memory.empty(int(indptr[-1]), arrays[0].dtype) for arrays in self._arrays]
        for out, addresses in zip(outs, self._addresses, strict=True):
            gather_bytes(addresses[block] + start * out.itemsize, length * out.itemsize, out.view(np.uint8))
        return SparseRows(outs[0], outs[1], indptr)


class _DenseStack:
    def __init__(self, parts: Sequence[DenseRows]) -> None:
        self._arrays = [np.ascontiguousarray(part.values) for part in parts]
        self._addresses, first = _addresses(self._arrays), self._arrays[0]
        self._row_shape, self._dtype = first.shape[1:], first.dtype
        self.row_bytes = int(np.prod(self._row_shape, dtype=np.int64)) * self._dtype.itemsize

    def gather(self, rows: np.ndarray, block: np.ndarray, relative: np.ndarray, memory: RowMemory) -> DenseRows:
        out = memory.empty(len(rows) * self.row_bytes, np.dtype(np.uint8))
        gather_bytes(self._addresses[block] + relative * self.row_bytes, np.full(len(rows), self.row_bytes), out)
        return DenseRows(out.view(self._dtype).reshape(len(rows), *self._row_shape))


class _ObjectStack:
    """Strings: objects whose references Python counts."""

    row_bytes = 8

    def __init__(self, parts: Sequence[DenseRows]) -> None:
        self._values = np.concatenate([part.values for part in parts])

    def gather(self, rows: np.ndarray, block: np.ndarray, relative: np.ndarray, memory: RowMemory) -> DenseRows:
        return DenseRows(self._values[rows])
