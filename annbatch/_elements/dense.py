"""A dense element of any number of dimensions, as it is stored; and what all dense elements share."""

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
    from .._arrays.sources import CsrSource, DenseSource
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool


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
    """Makes the jobs that write one dataset's rows."""

    def __call__(self, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the jobs, about ``n_jobs`` of them."""


@dataclass(frozen=True, slots=True)
class DensePlaces:
    """Where each dense row of a window goes.

    Attributes
    ----------
    edges
        ``(n_batches + 1,)`` first row of each batch.
    layout
        Where rows and batches begin.
    item
        Shape of one row.
    absent
        Where the rows begin that no dataset holds.
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
        """Return where each row of a dataset begins."""
        places: np.ndarray = self.layout.offset[share.positions]
        return places


@dataclass(frozen=True, slots=True)
class DensePlan:
    """Where each row goes, and what writes it there; rows that no dataset holds become zeros."""

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
    """A window's buffer, and where each batch begins in it."""

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
        One a dataset.
    columns
        One a dataset: ``(n_stored_columns,)`` int32, where each stored column goes, -1 for nowhere; empty: no
        change.
    width
        Columns of a batch.
    dtype
        Of the values in a batch; a dtype that kernels can cast to.
    target_sum
        Where rows are to be normalised to a total and their logarithm taken: the total.
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
            pieces = Pieces(*source.extents(share.rows), places.of_share(share))
            fill.append(partial(source.pair.dense_jobs, pieces, columns, self.width, target_sum=self.target_sum))
        return DensePlan(places, self.dtype, tuple(fill))
