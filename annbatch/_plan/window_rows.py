"""Where every row of a window comes from and where it goes: integers only, no I/O.

A window is the rows of one load request in the order in which batches yield them. The shuffle happens here; what is
read afterwards is written once, to its final place.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..types import LoadRequest

ALIGNED_ELEMENTS = 64
"""Batches start at multiples of this many elements, so on 64-byte boundaries for every item size."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window, in batch order.

    Attributes
    ----------
    rows
        ``(n_rows,)`` int64 global row numbers.
    edges
        ``(n_batches + 1,)`` int64; batch ``i`` is ``rows[edges[i]:edges[i + 1]]``.
    """

    rows: np.ndarray
    edges: np.ndarray

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return len(self.edges) - 1


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """The rows of a window that lie in one dataset, ascending, so that the disk is read in order.

    Attributes
    ----------
    dataset
        Which dataset.
    rows
        ``(n,)`` int64 row numbers within it, ascending; a row may repeat.
    positions
        ``(n,)`` int64 places in the window.
    """

    dataset: int
    rows: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True, slots=True)
class Pieces:
    """What to copy where: stored ranges along an array's first axis, and offsets in a flat buffer.

    Attributes
    ----------
    start
        ``(n,)`` int64, ascending: first stored item of each piece (an item is a value of a flat array, a row of a
        dense one).
    length
        ``(n,)`` int64 number of items; may be 0.
    dest
        ``(n,)`` int64 first element of the piece in the buffer.
    """

    start: np.ndarray
    length: np.ndarray
    dest: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    def part(self, part: slice) -> Pieces:
        """Return some of the pieces."""
        return Pieces(self.start[part], self.length[part], self.dest[part])

    def in_elements(self, item: int) -> Pieces:
        """Return the pieces that hold anything, with ``start`` and ``length`` in elements.

        Parameters
        ----------
        item
            Elements an item.
        """
        start, length, dest = self.start, self.length, self.dest
        if len(length) and length.min() == 0:
            filled = np.flatnonzero(length)
            start, length, dest = start[filled], length[filled], dest[filled]
        return Pieces(start * item, length * item, dest)


@dataclass(frozen=True, slots=True)
class Layout:
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
        ``(n_batches,)`` int64 elements that belong to each batch, padding included.
    """

    offset: np.ndarray
    batch: np.ndarray
    filled: np.ndarray
    capacity: np.ndarray

    @property
    def size(self) -> int:
        """Elements of the whole buffer."""
        return int(self.batch[-1])


def split_every(array: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut an array into views of ``size`` entries; the last may be shorter."""
    return [array[start : start + size] for start in range(0, len(array), size)]


def n_requested(requests: Sequence[slice] | np.ndarray) -> int:
    """Return how many rows the requests of one window name."""
    if isinstance(requests, np.ndarray):
        return len(requests)
    return sum(request.stop - request.start for request in requests)


def plan_window(request: LoadRequest, n_obs: int) -> WindowRows:
    """Turn a sampler's request into global rows in batch order.

    Raises
    ------
    ValueError
        If a request lies outside ``0..n_obs``, a slice has a step, or a split points outside the requests.
    """
    requests = request["requests"]
    if isinstance(requests, np.ndarray):
        if not np.issubdtype(requests.dtype, np.integer):
            raise ValueError(f"`requests` must be integers or slices, got dtype {requests.dtype}.")
        requested = requests.astype(np.int64, copy=False)
    else:
        for item in requests:
            if item.step not in (None, 1):
                raise ValueError(f"`requests` must be slices with step 1, got {item}.")
        requested = concatenated_ranges([r.start for r in requests], [r.stop - r.start for r in requests])
    if requested.size and not (requested.min() >= 0 and requested.max() < n_obs):
        raise ValueError(
            f"`requests` must lie within the loader's 0..{n_obs} rows, got {requested.min()}..{requested.max()}."
        )
    splits = request["splits"]
    edges = np.zeros(len(splits) + 1, dtype=np.int64)
    np.cumsum([len(split) for split in splits], out=edges[1:])
    order = np.concatenate(splits) if splits else np.empty(0, dtype=np.int64)
    if order.size and not (order.min() >= 0 and order.max() < requested.size):
        raise ValueError(
            f"`splits` must be positions within the {requested.size} requested rows, got {order.min()}..{order.max()}."
        )
    return WindowRows(requested[order], edges)


def concatenated_ranges(starts: Sequence[int] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return ``arange(start, start + length)`` for each pair, one after the other, as int64."""
    starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)


def rows_by_dataset(rows: np.ndarray, dataset_starts: np.ndarray) -> list[DatasetRows]:
    """Deal a window's rows to the datasets that hold them.

    Parameters
    ----------
    rows
        ``(n_rows,)`` global row numbers in window order.
    dataset_starts
        ``(n_datasets + 1,)`` first global row of each dataset, and the total.
    """
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    cuts = np.searchsorted(ascending, dataset_starts)
    return [
        DatasetRows(dataset, ascending[a:b] - dataset_starts[dataset], order[a:b])
        for dataset, (a, b) in enumerate(itertools.pairwise(cuts))
        if a < b
    ]


def lay_out(lengths: np.ndarray, edges: np.ndarray, capacity: Callable[[int], int] | None = None) -> Layout:
    """Give every row its place in a flat buffer in which each batch is contiguous and aligned.

    Parameters
    ----------
    lengths
        ``(n_rows,)`` elements of each row, in window order.
    edges
        ``(n_batches + 1,)`` first row of each batch, and the total.
    capacity
        Elements to reserve for a batch that fills the given number; default, just those.

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
    return Layout(ends[:-1] + shift, batch, filled, reserved)
