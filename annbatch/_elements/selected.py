"""A sparse element of which some columns are kept, in an order of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan import Pieces, lay_out
from .csr import CsrWindow, index_dtype
from .element import lend
from .transformed import followed_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._buffers import BufferPool
    from .._plan import DatasetRows, WindowRows
    from .._sources.array import Job
    from .._sources.rows import CsrSource
    from ..batch import CSR


@dataclass(frozen=True, slots=True)
class SelectedElement:
    """A sparse element with other columns than are stored.

    How many elements of a row are wanted is known when it has been read. So each row goes to a slot with room for all
    of it, and from there, once all rows are read, to its place: a second pass over what is kept, and only that.

    Attributes
    ----------
    sources
        One a dataset.
    columns
        One a dataset: ``(n_stored_columns,)`` int32 new number of each stored column, -1 for those not wanted.
    n_columns
        Columns of a batch.
    dtype
        Of the values in a batch; a dtype that kernels can cast to.
    capacity
        Elements to reserve for a batch of so many non-zeros; None for just those.
    """

    sources: tuple[CsrSource, ...]
    columns: tuple[np.ndarray, ...]
    n_columns: int
    dtype: np.dtype
    capacity: Callable[[int], int] | None

    @property
    def reorders(self) -> bool:
        """Whether the elements of a row must be sorted anew."""
        return any((np.diff(columns[columns >= 0]) <= 0).any() for columns in self.columns)

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> SelectedPlan:
        """Plan the reading of one window."""
        pieces, used = [], 0
        positions: list[np.ndarray] = []
        for share in shares:
            start, length = self.sources[share.dataset].extents(share.rows)
            filled = np.flatnonzero(length)
            start, length = start[filled], length[filled]
            slot = used + np.cumsum(length) - length
            used += int(length.sum())
            pieces.append((share.dataset, Pieces(start, length, slot)))
            positions.append(share.positions[filled])
        return SelectedPlan(self, window.edges, tuple(pieces), tuple(positions), used)


@dataclass(frozen=True, slots=True)
class SelectedPlan:
    """Which slot each stored row goes to first, and which row of the window it is."""

    element: SelectedElement
    edges: np.ndarray
    pieces: tuple[tuple[int, Pieces], ...]
    positions: tuple[np.ndarray, ...]
    slots: int

    @property
    def nbytes(self) -> int:
        """Bytes of the slots, and of what is kept of them, which is as much at most and known when all is read."""
        return 2 * self.slots * (self.element.dtype.itemsize + index_dtype(self.element.n_columns).itemsize)

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[SelectedWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end completes it."""
        element = self.element
        values = lend(pool, self.slots, element.dtype)
        indices = lend(pool, self.slots, index_dtype(element.n_columns))
        counts = [np.zeros(len(pieces), dtype=np.int64) for _, pieces in self.pieces]
        window = SelectedWindow(self, pool, values, indices, counts)
        jobs: list[Job] = []
        for (dataset, pieces), count in zip(self.pieces, counts, strict=True):
            pair = element.sources[dataset].pair
            jobs += pair.selected_jobs(pieces, element.columns[dataset], count, values, indices, n_jobs=n_jobs)
        return window, followed_by(jobs, window.gather)


class SelectedWindow:
    """The slots of a window, and then its batches."""

    def __init__(
        self,
        plan: SelectedPlan,
        pool: BufferPool,
        values: np.ndarray,
        indices: np.ndarray,
        counts: list[np.ndarray],
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._slots: tuple[np.ndarray, np.ndarray, list[np.ndarray]] | None = (values, indices, counts)
        self._complete: CsrWindow | None = None

    def batch(self, i: int) -> CSR:
        """Return batch ``i`` as views of the window's memory."""
        assert self._complete is not None, "a window is complete once its jobs have run"
        return self._complete.batch(i)

    def gather(self) -> None:
        """Move the rows from their slots to their places, once all have been read."""
        from .._select import gather_slots

        assert self._slots is not None
        plan, element, (values, indices, counts) = self._plan, self._plan.element, self._slots
        lengths = np.zeros(int(plan.edges[-1]), dtype=np.int64)
        for positions, count in zip(plan.positions, counts, strict=True):
            lengths[positions] = count
        layout = lay_out(lengths, plan.edges, element.capacity)
        window = CsrWindow.lay(self._pool, lengths, plan.edges, layout, element.n_columns, element.dtype)
        for (_, pieces), positions, count in zip(plan.pieces, plan.positions, counts, strict=True):
            dest = layout.offset[positions]
            gather_slots(pieces.dest, count, dest, values, indices, element.reorders, window.data, window.indices)
        self._slots, self._complete = None, window  # the slots' memory goes back
