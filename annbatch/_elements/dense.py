"""Elements that are dense in batches: stored dense, in any number of dimensions, or stored sparse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .._plan.pieces import Pieces, WindowLayout, lay_out
from .element import lend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._arrays.array import Job
    from .._arrays.rows import CsrSource, DenseSource
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool


@dataclass(frozen=True, slots=True)
class DenseElement:
    """A dense element of any number of dimensions.

    Attributes
    ----------
    sources
        One per dataset.
    item
        Shape of one row.
    dtype
        Dtype of the values in a batch.
    """

    sources: tuple[DenseSource, ...]
    item: tuple[int, ...]
    dtype: np.dtype

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DensePlan:
        """Plan the reading of one window."""
        for share in shares:
            self.sources[share.dataset].check_rows(len(share.rows))
        places = DensePlaces.of(window, shares, self.item)
        fill = [
            partial(
                self.sources[share.dataset].array.jobs,
                Pieces(share.rows, np.ones(len(share.rows), dtype=np.int64), places.of_share(share)),
            )
            for share in shares
        ]
        return DensePlan(places, self.dtype, tuple(fill))


class Fill(Protocol):
    """Function that returns the jobs that write one dataset's rows."""

    def __call__(self, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the jobs, about ``n_jobs`` of them."""


@dataclass(frozen=True, slots=True)
class DensePlaces:
    """Destination of each dense row of a window.

    Attributes
    ----------
    edges
        ``(n_batches + 1,)`` first row of each batch.
    layout
        Start of rows and batches.
    item
        Shape of one row.
    absent
        Start of the rows that no dataset holds.
    """

    edges: np.ndarray
    layout: WindowLayout
    item: tuple[int, ...]
    absent: np.ndarray

    @staticmethod
    def of(window: WindowRows, shares: Sequence[DatasetRows], item: tuple[int, ...]) -> DensePlaces:
        """Lay out the rows of a window."""
        size = int(np.prod(item, dtype=np.int64))
        layout = lay_out(np.full(len(window.rows), size, dtype=np.int64), window.edges)
        there = sum(len(share.rows) for share in shares)
        absent = np.empty(0, dtype=np.int64)
        if there < len(window.rows):
            absent = np.delete(layout.offset, np.concatenate([absent, *(share.positions for share in shares)]))
        return DensePlaces(window.edges, layout, item, absent)

    def of_share(self, share: DatasetRows) -> np.ndarray:
        """Return the start of each of a dataset's rows."""
        places: np.ndarray = self.layout.offset[share.positions]
        return places


@dataclass(frozen=True, slots=True)
class DensePlan:
    """Destination of each row, and the jobs that write it; rows that no dataset holds become zeros."""

    places: DensePlaces
    dtype: np.dtype
    fill: tuple[Fill, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values."""
        return self.places.layout.size * self.dtype.itemsize

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[DenseWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        places = self.places
        out = lend(pool, places.layout.size, self.dtype)
        jobs = [job for fill in self.fill for job in fill(out, n_jobs=n_jobs)]
        if len(places.absent):
            jobs.append(partial(_zero, out, places.absent, int(np.prod(places.item, dtype=np.int64))))
        return DenseWindow(out, places.edges, places.layout, places.item), jobs


@dataclass(frozen=True, slots=True)
class DenseWindow:
    """Buffer of a window, and the start of each batch in it."""

    out: np.ndarray
    edges: np.ndarray
    layout: WindowLayout
    item: tuple[int, ...]

    def batch(self, i: int) -> np.ndarray:
        """Return batch ``i`` as a view of the buffer."""
        start, n_rows = int(self.layout.batch[i]), int(self.edges[i + 1] - self.edges[i])
        return self.out[start : start + int(self.layout.filled[i])].reshape(n_rows, *self.item)


def _zero(out: np.ndarray, places: np.ndarray, width: int) -> int:
    for place in places.tolist():
        out[place : place + width] = 0
    return 0


@dataclass(frozen=True, slots=True)
class DensifiedElement:
    """A sparse element, dense in batches.

    Attributes
    ----------
    sources
        One per dataset.
    columns
        One per dataset: ``(n_stored_columns,)`` int32, destination of each stored column, -1 for none; empty:
        unchanged.
    width
        Number of columns of a batch.
    dtype
        Dtype of the values in a batch; kernels must be able to cast to it.
    target_sum
        Total to which rows are normalised before log1p; None: they are not.
    """

    sources: tuple[CsrSource, ...]
    columns: tuple[np.ndarray, ...]
    width: int
    dtype: np.dtype
    target_sum: float | None = None

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DensePlan:
        """Plan the reading of one window."""
        places = DensePlaces.of(window, shares, (self.width,))
        fill = []
        for share in shares:
            source, columns = self.sources[share.dataset], self.columns[share.dataset]
            pieces = source.pieces(share.rows, *source.extents(share.rows), places.of_share(share))
            fill.append(partial(source.pair.dense_jobs, pieces, columns, self.width, target_sum=self.target_sum))
        return DensePlan(places, self.dtype, tuple(fill))
