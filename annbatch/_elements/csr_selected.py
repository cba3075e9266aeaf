"""A sparse element with selected columns, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan.pieces import Pieces, lay_out
from .csr import CsrWindow, index_dtype
from .element import followed_by, lend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._arrays.array import Job
    from .._arrays.rows import CsrSource
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from ..batch import CSR


@dataclass(frozen=True, slots=True)
class SelectedElement:
    """A sparse element with selected columns.

    The number of selected elements in a row is known only after it has been read. So selected elements are first
    written row after row, into memory with room for whole rows (untouched pages cost nothing), and copied to their
    final place once all rows are read: a second pass, over selected elements only.

    Attributes
    ----------
    sources
        One per dataset.
    columns
        One per dataset: ``(n_stored_columns,)`` int32 new number of each stored column, -1 for those left out.
    n_columns
        Number of columns of a batch.
    dtype
        Dtype of the values in a batch; kernels must be able to cast to it.
    capacity
        Elements to reserve for a batch of a given number of non-zeros; None: just those.
    """

    sources: tuple[CsrSource, ...]
    columns: tuple[np.ndarray, ...]
    n_columns: int
    dtype: np.dtype
    capacity: Callable[[int], int] | None

    def n_sorted(self, dataset: int) -> int:
        """Return the number of columns among which a row's elements must be sorted; 0 if their order is kept."""
        columns = self.columns[dataset]
        return self.n_columns if (np.diff(columns[columns >= 0]) <= 0).any() else 0

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> SelectedPlan:
        """Plan the reading of one window."""
        kept, room = [], 0
        for share in shares:
            fresh = np.diff(share.rows, prepend=-1) != 0  # a row that repeats is read once
            source, rows = self.sources[share.dataset], share.rows[fresh]
            start, length = source.extents(rows)
            filled = length > 0
            piece = np.where(filled, np.cumsum(filled) - 1, -1)[np.cumsum(fresh) - 1]
            start, length = start[filled], length[filled]
            pieces = source.pieces(rows[filled], start, length, room + np.cumsum(length) - length)
            kept.append(SelectedRows(share.dataset, pieces, share.positions[piece >= 0], piece[piece >= 0]))
            room += int(length.sum())
        return SelectedPlan(self, window.edges, tuple(kept), room)


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """Rows of one dataset that are read for a window.

    Attributes
    ----------
    dataset
        Number of the dataset.
    pieces
        Its rows; none is empty or repeated.
    positions
        ``(n,)`` positions in the window of rows that are not empty.
    piece
        ``(n,)`` number of the piece that each of them is.
    """

    dataset: int
    pieces: Pieces
    positions: np.ndarray
    piece: np.ndarray


@dataclass(frozen=True, slots=True)
class SelectedPlan:
    """Rows to read, and their positions in the window."""

    element: SelectedElement
    edges: np.ndarray
    kept: tuple[SelectedRows, ...]
    room: int

    @property
    def nbytes(self) -> int:
        """Upper bound in bytes, reached if whole rows are selected: room to read them, and as much for batches."""
        return 2 * self.room * (self.element.dtype.itemsize + index_dtype(self.element.n_columns).itemsize)

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[SelectedWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end completes it."""
        element = self.element
        values = lend(pool, self.room, element.dtype)
        indices = lend(pool, self.room, index_dtype(element.n_columns))
        places, jobs = [], []
        for kept in self.kept:
            begin, count = np.zeros((2, len(kept.pieces)), dtype=np.int64)
            places.append((begin, count))
            pair, columns = element.sources[kept.dataset].pair, element.columns[kept.dataset]
            n_sorted = element.n_sorted(kept.dataset)
            jobs += pair.selected_jobs(
                kept.pieces, columns, begin, count, values, indices, n_sorted=n_sorted, n_jobs=n_jobs
            )
        window = SelectedWindow(self, pool, values, indices, places)
        return window, followed_by(jobs, window.gather)


class SelectedWindow:
    """Selected elements of a window's rows, and once all are read, its batches."""

    def __init__(
        self,
        plan: SelectedPlan,
        pool: BufferPool,
        values: np.ndarray,
        indices: np.ndarray,
        places: list[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self._plan = plan
        self._pool = pool
        self._read: tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]] | None
        self._read = (values, indices, places)
        self._complete: CsrWindow | None = None

    def batch(self, i: int) -> CSR:
        """Return batch ``i`` as views of the window's memory."""
        assert self._complete is not None, "a window is complete once its jobs have run"
        return self._complete.batch(i)

    def gather(self) -> None:
        """Copy the rows to their places, once all have been read."""
        from .._kernels.scatter import scatter

        assert self._read is not None
        plan, element, (values, indices, places) = self._plan, self._plan.element, self._read
        lengths = np.zeros(int(plan.edges[-1]), dtype=np.int64)
        for kept, (_, count) in zip(plan.kept, places, strict=True):
            lengths[kept.positions] = count[kept.piece]
        layout = lay_out(lengths, plan.edges, element.capacity)
        window = CsrWindow.lay(self._pool, lengths, plan.edges, layout, element.n_columns, element.dtype)
        for kept, (begin, count) in zip(plan.kept, places, strict=True):
            of, n, dest = begin[kept.piece], count[kept.piece], layout.offset[kept.positions]
            scatter(values, of, n, dest, window.data)
            scatter(indices, of, n, dest, window.indices)
        self._read, self._complete = None, window  # the memory goes back
