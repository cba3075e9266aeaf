"""Pieces of rows, and their places in a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


ALIGNED_ELEMENTS = 64
"""Batches start at multiples of this many elements, so on 64-byte boundaries for every item size."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """Ranges to copy along an array's first axis, and their offsets in a flat buffer.

    Attributes
    ----------
    start
        ``(n,)`` int64, ascending: first stored item of each piece (an item is a value of a flat array, a row of a
        dense one).
    length
        ``(n,)`` int64 number of items; may be 0.
    dest
        ``(n,)`` int64 first element of the piece in the buffer.
    before
        ``(n,)`` value before each piece, where values are stored as differences from it; None: they are not.
    """

    start: np.ndarray
    length: np.ndarray
    dest: np.ndarray
    before: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.start)

    @property
    def fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arrays, as kernels take them."""
        return self.start, self.length, self.dest

    def part(self, part: slice | np.ndarray) -> Pieces:
        """Return some of the pieces."""
        before = None if self.before is None else self.before[part]
        return Pieces(self.start[part], self.length[part], self.dest[part], before)

    def in_elements(self, item: int) -> Pieces:
        """Return the pieces that hold anything, with ``start`` and ``length`` in elements.

        Parameters
        ----------
        item
            Elements per item.
        """
        pieces = self
        if len(self) and self.length.min() == 0:
            pieces = self.part(np.flatnonzero(self.length))
        return Pieces(pieces.start * item, pieces.length * item, pieces.dest, pieces.before)


@dataclass(frozen=True, slots=True)
class WindowLayout:
    """Where rows and batches begin in a window's flat buffer.

    Attributes
    ----------
    offset
        ``(n_rows,)`` int64 first element of each row.
    batch
        ``(n_batches + 1,)`` int64 first element of each batch, a multiple of 64; the last entry is the buffer's size.
    filled
        ``(n_batches,)`` int64 elements that the rows of each batch fill.
    capacity
        ``(n_batches,)`` int64 elements reserved for each batch, padding included.
    """

    offset: np.ndarray
    batch: np.ndarray
    filled: np.ndarray
    capacity: np.ndarray

    @property
    def size(self) -> int:
        """Elements of the whole buffer."""
        return int(self.batch[-1])


def lay_out(lengths: np.ndarray, edges: np.ndarray, capacity: Callable[[int], int] | None = None) -> WindowLayout:
    """Lay out rows in a flat buffer in which each batch is contiguous and aligned.

    Parameters
    ----------
    lengths
        ``(n_rows,)`` elements in each row, in window order.
    edges
        ``(n_batches + 1,)`` first row of each batch, and the total.
    capacity
        Returns the elements to reserve for a batch, given how many it fills; None to reserve just those.

    Raises
    ------
    ValueError
        If ``capacity`` reserves fewer elements than a batch fills, which would overwrite the next one.
    """
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    filled = np.diff(ends[edges])
    reserved = filled if capacity is None else np.array([capacity(int(n)) for n in filled], dtype=np.int64)
    if (reserved < filled).any():
        worst = int(np.argmin(reserved - filled))
        raise ValueError(
            f"`capacity` must return at least the {filled[worst]} elements of the batch, got {reserved[worst]}."
        )
    batch = np.zeros(len(edges), dtype=np.int64)
    np.cumsum(-(-reserved // ALIGNED_ELEMENTS) * ALIGNED_ELEMENTS, out=batch[1:])
    shift = np.repeat(batch[:-1] - ends[edges[:-1]], np.diff(edges))
    return WindowLayout(ends[:-1] + shift, batch, filled, reserved)
