"""One element (X, a layer, an obsm) over all datasets: its share of a window, planned, begun, and cut into batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ._plan import Layout, Pieces, lay_out
from .batch import CSR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ._buffers import BufferPool
    from ._plan import DatasetRows, WindowRows
    from ._sources.array import Job
    from ._sources.rows import CsrSource, DenseSource


class ElementWindow(Protocol):
    """An element's rows of one window, complete once the jobs of its reading have run."""

    def batch(self, i: int) -> CSR | np.ndarray:
        """Return batch ``i`` as views of the window's memory."""


class ElementPlan(Protocol):
    """What reading an element's rows of one window will take."""

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[ElementWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""


class Element(Protocol):
    """An element of all datasets of a loader."""

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> ElementPlan:
        """Plan the reading of one window; ``shares`` are its rows by dataset."""


@dataclass(frozen=True, slots=True)
class CsrElement:
    """A sparse element.

    Attributes
    ----------
    sources
        One a dataset.
    n_columns
        Width of every source.
    dtype
        Of the values in a batch.
    capacity
        Elements to reserve for a batch of so many non-zeros; None for just those.
    """

    sources: tuple[CsrSource, ...]
    n_columns: int
    dtype: np.dtype
    capacity: Callable[[int], int] | None

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> CsrPlan:
        """Plan the reading of one window."""
        lengths = np.empty(len(window.rows), dtype=np.int64)
        starts = []
        for share in shares:
            start, lengths[share.positions] = self.sources[share.dataset].extents(share.rows)
            starts.append(start)
        layout = lay_out(lengths, window.edges, self.capacity)
        pieces = tuple(
            (self.sources[share.dataset], Pieces(start, lengths[share.positions], layout.offset[share.positions]))
            for share, start in zip(shares, starts, strict=True)
        )
        return CsrPlan(self, window.edges, lengths, layout, pieces)


@dataclass(frozen=True, slots=True)
class CsrPlan:
    """Where each stored row goes, and where each batch's arrays lie."""

    element: CsrElement
    edges: np.ndarray
    lengths: np.ndarray
    layout: Layout
    pieces: tuple[tuple[CsrSource, Pieces], ...]

    @property
    def index_dtype(self) -> np.dtype:
        """Of the column numbers."""
        return np.dtype(np.int32 if self.element.n_columns <= np.iinfo(np.int32).max else np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values and column numbers."""
        return self.layout.size * (self.element.dtype.itemsize + self.index_dtype.itemsize)

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[CsrWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        from ._scatter import fill_indptr, pad

        layout, size = self.layout, self.layout.size
        data = lend(pool, size, self.element.dtype)
        indices = lend(pool, size, self.index_dtype)
        largest = int(layout.filled.max(initial=0))
        rows = lay_out(np.diff(self.edges) + 1, np.arange(len(self.edges)))
        indptr = lend(pool, rows.size, np.dtype(np.int32 if largest <= np.iinfo(np.int32).max else np.int64))
        fill_indptr(self.lengths, self.edges, rows.batch, indptr)
        if self.element.capacity is not None:
            # numba has no float16 on the CPU; zero has the same bits
            zeros = data.view(np.uint16) if data.dtype == np.float16 else data
            pad(layout.batch, layout.filled, layout.capacity, 0, zeros)
            pad(layout.batch, layout.filled, layout.capacity, self.element.n_columns, indices)
        jobs: list[Job] = []
        for source, pieces in self.pieces:
            jobs += source.data.jobs(pieces, data, n_jobs=n_jobs)
            jobs += source.indices.jobs(pieces, indices, n_jobs=n_jobs)
        return CsrWindow(self, data, indices, indptr, rows.batch), jobs


@dataclass(frozen=True, slots=True)
class CsrWindow:
    """A window's buffers."""

    plan: CsrPlan
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray
    indptr_start: np.ndarray

    def batch(self, i: int) -> CSR:
        """Return batch ``i`` as views of the buffers."""
        layout = self.plan.layout
        start, n_rows = int(layout.batch[i]), int(self.plan.edges[i + 1] - self.plan.edges[i])
        stop, row = start + int(layout.capacity[i]), int(self.indptr_start[i])
        return CSR(
            self.data[start:stop],
            self.indices[start:stop],
            self.indptr[row : row + n_rows + 1],
            (n_rows, self.plan.element.n_columns),
        )


@dataclass(frozen=True, slots=True)
class DenseElement:
    """A dense element of any number of dimensions.

    Attributes
    ----------
    sources
        One a dataset.
    item
        Shape of one row.
    dtype
        Of the values in a batch.
    """

    sources: tuple[DenseSource, ...]
    item: tuple[int, ...]
    dtype: np.dtype

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DensePlan:
        """Plan the reading of one window."""
        size = int(np.prod(self.item, dtype=np.int64))
        layout = lay_out(np.full(len(window.rows), size, dtype=np.int64), window.edges)
        pieces = tuple(
            (
                self.sources[share.dataset],
                Pieces(share.rows, np.ones(len(share.rows), dtype=np.int64), layout.offset[share.positions]),
            )
            for share in shares
        )
        return DensePlan(self, window.edges, layout, pieces)


@dataclass(frozen=True, slots=True)
class DensePlan:
    """Where each stored row goes."""

    element: DenseElement
    edges: np.ndarray
    layout: Layout
    pieces: tuple[tuple[DenseSource, Pieces], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values."""
        return self.layout.size * self.element.dtype.itemsize

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[DenseWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        out = lend(pool, self.layout.size, self.element.dtype)
        jobs: list[Job] = []
        for source, pieces in self.pieces:
            jobs += source.array.jobs(pieces, out, n_jobs=n_jobs)
        return DenseWindow(self, out), jobs


@dataclass(frozen=True, slots=True)
class DenseWindow:
    """A window's buffer."""

    plan: DensePlan
    out: np.ndarray

    def batch(self, i: int) -> np.ndarray:
        """Return batch ``i`` as a view of the buffer."""
        layout = self.plan.layout
        start, n_rows = int(layout.batch[i]), int(self.plan.edges[i + 1] - self.plan.edges[i])
        return self.out[start : start + int(layout.filled[i])].reshape(n_rows, *self.plan.element.item)


def lend(pool: BufferPool, size: int, dtype: np.dtype) -> np.ndarray:
    """Return a flat array of ``size`` elements over memory of the pool."""
    return pool.lend(size * dtype.itemsize).view(dtype)
