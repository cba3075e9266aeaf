"""A sparse element with all its columns: as stored, or renumbered among those of other datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan.pieces import Pieces, WindowLayout, lay_out
from ..batch import CSR
from .element import lend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._arrays.array import Job
    from .._arrays.rows import CsrSource
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool


@dataclass(frozen=True, slots=True)
class CsrElement:
    """A sparse element.

    Attributes
    ----------
    sources
        One per dataset.
    n_columns
        Number of columns of a batch.
    dtype
        Dtype of the values in a batch.
    capacity
        Elements to reserve for a batch of a given number of non-zeros; None: just those.
    columns
        One per dataset: ``(n_stored_columns,)`` int32 new number of each stored column, ascending; None: unchanged.
    """

    sources: tuple[CsrSource, ...]
    n_columns: int
    dtype: np.dtype
    capacity: Callable[[int], int] | None
    columns: tuple[np.ndarray, ...] | None = None

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> CsrPlan:
        """Plan the reading of one window."""
        lengths, layout, pieces = place_rows(self.sources, window, shares, self.capacity)
        return CsrPlan(self, window.edges, lengths, layout, pieces)


@dataclass(frozen=True, slots=True)
class CsrPlan:
    """Destination of each stored row, and position of each batch's arrays."""

    element: CsrElement
    edges: np.ndarray
    lengths: np.ndarray
    layout: WindowLayout
    pieces: tuple[tuple[int, Pieces], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values and column numbers."""
        return self.layout.size * (self.element.dtype.itemsize + index_dtype(self.element.n_columns).itemsize)

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[CsrWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        element = self.element
        window = CsrWindow.lay(pool, self.lengths, self.edges, self.layout, element.n_columns, element.dtype)
        jobs: list[Job] = []
        for dataset, pieces in self.pieces:
            source, columns = element.sources[dataset], element.columns
            jobs += source.data.jobs(pieces, window.data, n_jobs=n_jobs)
            if columns is None:
                jobs += source.indices.jobs(pieces, window.indices, n_jobs=n_jobs)
            else:
                jobs += source.pair.renumbered_jobs(pieces, columns[dataset], window.indices, n_jobs=n_jobs)
        return window, jobs


@dataclass(frozen=True, slots=True)
class CsrWindow:
    """Buffers of a window, and the start of each batch in them."""

    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    edges: np.ndarray
    layout: WindowLayout
    indptr_start: np.ndarray
    n_columns: int

    @staticmethod
    def lay(
        pool: BufferPool, lengths: np.ndarray, edges: np.ndarray, layout: WindowLayout, n_columns: int, dtype: np.dtype
    ) -> CsrWindow:
        """Take the memory of a window whose rows have the given lengths; fill in all but rows' values and columns."""
        from .._kernels.scatter import fill_indptr, pad

        data, indices = lend(pool, layout.size, dtype), lend(pool, layout.size, index_dtype(n_columns))
        rows = lay_out(np.diff(edges) + 1, np.arange(len(edges)))
        indptr = lend(pool, rows.size, pointer_dtype(layout))
        fill_indptr(lengths, edges, rows.batch, indptr)
        if layout.capacity is not layout.filled:
            # numba has no float16 on the CPU; zero has the same bits
            zeros = data.view(np.uint16) if data.dtype == np.float16 else data
            pad(layout.batch, layout.filled, layout.capacity, 0, zeros)
            pad(layout.batch, layout.filled, layout.capacity, n_columns, indices)
        return CsrWindow(data, indices, indptr, edges, layout, rows.batch, n_columns)

    def batch(self, i: int) -> CSR:
        """Return batch ``i`` as views of the buffers."""
        start, n_rows = int(self.layout.batch[i]), int(self.edges[i + 1] - self.edges[i])
        stop, row = start + int(self.layout.capacity[i]), int(self.indptr_start[i])
        return CSR(
            self.data[start:stop],
            self.indices[start:stop],
            self.indptr[row : row + n_rows + 1],
            (n_rows, self.n_columns),
        )


def place_rows(
    sources: Sequence[CsrSource],
    window: WindowRows,
    shares: Sequence[DatasetRows],
    capacity: Callable[[int], int] | None = None,
) -> tuple[np.ndarray, WindowLayout, tuple[tuple[int, Pieces], ...]]:
    """Return length and destination of each row of a window, and the stored elements that it is read from.

    Parameters
    ----------
    sources
        One per dataset.
    window, shares
        Rows of the window, and the same by dataset; rows of no dataset are empty.
    capacity
        Elements to reserve for a batch of a given number of non-zeros; None: just those.

    Returns
    -------
    tuple
        ``(n_rows,)`` lengths; the layout; per share, the number of the dataset and its pieces.
    """
    lengths = np.zeros(len(window.rows), dtype=np.int64)
    starts = []
    for share in shares:
        start, lengths[share.positions] = sources[share.dataset].extents(share.rows)
        starts.append(start)
    layout = lay_out(lengths, window.edges, capacity)
    pieces = []
    for share, start in zip(shares, starts, strict=True):
        length, dest = lengths[share.positions], layout.offset[share.positions]
        pieces.append((share.dataset, sources[share.dataset].pieces(share.rows, start, length, dest)))
    return lengths, layout, tuple(pieces)


def pointer_dtype(layout: WindowLayout) -> np.dtype:
    """Return the dtype of a window's ``indptr``: int64 only where a batch needs it."""
    return np.dtype(np.int32 if int(layout.filled.max(initial=0)) <= np.iinfo(np.int32).max else np.int64)


def index_dtype(n_columns: int) -> np.dtype:
    """Return the dtype of column numbers; padding has the number ``n_columns``."""
    return np.dtype(np.int32 if n_columns <= np.iinfo(np.int32).max else np.int64)
