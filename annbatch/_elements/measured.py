"""A matrix of which only the moments of its columns and the sums of its rows are kept, not the rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._arrays.moments import ColumnSums, GroupMoments, Moments
from ..batch import CSR
from ..errors import CorruptDataError
from .dense import DenseElement
from .dense_selected import DenseSelectedElement
from .element import followed_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._arrays.array import Job
    from .._arrays.rows import CsrSource
    from .._plan.pieces import Pieces
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from .element import Element, ElementPlan, ElementWindow

MEASURED_ROWS = 1 << 13
"""Rows of a window, which is one batch: no more than kernels can add up at a time."""

_DENSE_VALUES = 1 << 23
"""Values of a dense window."""


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """What is known of the rows of a window.

    Attributes
    ----------
    rows
        ``(n_rows, 2)`` float64: the sum of each row, and its number of non-zeros.
    columns
        Sums of the columns, in parts.
    """

    rows: np.ndarray
    columns: list[ColumnSums]

    def batch(self, i: int) -> np.ndarray:
        """Return what is known of each row."""
        return self.rows


@dataclass(frozen=True, slots=True)
class MeasuredCsr:
    """A stored CSR matrix, whose values are added up as they are decoded.

    Attributes
    ----------
    sources
        One per dataset.
    columns
        One per dataset: ``(n_stored_columns,)`` int32 new number of each stored column, -1 for none; empty: unchanged.
    width
        Number of columns.
    """

    sources: tuple[CsrSource, ...]
    columns: tuple[np.ndarray, ...]
    width: int

    @property
    def most_rows(self) -> int:
        """Rows of a window."""
        return MEASURED_ROWS

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> MeasuredCsrPlan:
        """Plan the reading of one window."""
        pieces = []
        for share in shares:
            source = self.sources[share.dataset]
            pieces.append(source.pieces(share.rows, *source.extents(share.rows), share.positions))
        return MeasuredCsrPlan(self, len(window.rows), list(zip(shares, pieces, strict=True)))


@dataclass(frozen=True, slots=True)
class MeasuredCsrPlan:
    """Stored elements of each row."""

    element: MeasuredCsr
    n_rows: int
    pieces: list[tuple[DatasetRows, Pieces]]

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return len(self.pieces) * self.element.width * 40 + self.n_rows * 16

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[MeasuredWindow, list[Job]]:
        """Return the window with the jobs that fill it."""
        element, window = self.element, MeasuredWindow(np.zeros((self.n_rows, 2)), [])
        jobs: list[Job] = []
        for share, pieces in self.pieces:
            source, columns = element.sources[share.dataset], element.columns[share.dataset]
            for job, sums in source.pair.moments_jobs(pieces, columns, element.width, window.rows):
                jobs.append(job)
                window.columns.append(sums)
        return window, jobs


@dataclass(frozen=True, slots=True)
class MeasuredElement:
    """Any element of two dimensions, dense or transformed, whose windows are added up once they have been read.

    Attributes
    ----------
    key
        Its key, which errors name.
    element
        Reads the values.
    width
        Number of columns.
    """

    key: str
    element: Element
    width: int

    @property
    def most_rows(self) -> int:
        """Rows of a window, fewer of a wide matrix if it is dense."""
        is_dense = isinstance(self.element, DenseElement | DenseSelectedElement)
        return max(1, min(MEASURED_ROWS, _DENSE_VALUES // max(1, self.width))) if is_dense else MEASURED_ROWS

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> MeasuredPlan:
        """Plan the reading of one window."""
        return MeasuredPlan(self, self.element.plan(window, shares), len(window.rows))


@dataclass(frozen=True, slots=True)
class MeasuredPlan:
    """The plan of the element, followed by the measurement."""

    element: MeasuredElement
    plan: ElementPlan
    n_rows: int

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""
        return self.plan.nbytes

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[MeasuredWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end measures it."""
        window, jobs = self.plan.begin(pool, n_jobs=n_jobs)
        measured = MeasuredWindow(np.zeros((self.n_rows, 2)), [ColumnSums(self.element.width)])
        windows = [window]  # taken out to be measured: then its memory is free again
        return measured, followed_by(jobs, lambda: self._measure(windows.pop().batch(0), measured))

    def _measure(self, batch: CSR | np.ndarray, measured: MeasuredWindow) -> None:
        from .._kernels.moments import add_moments

        values, indices, edges = stretch_of(batch, self.element.width, self.element.key)
        filled = np.flatnonzero(np.diff(edges))
        pieces = edges[filled], np.diff(edges)[filled], filled
        (sums,) = measured.columns
        add_moments(values, indices, 0, len(values), 0, pieces, *sums.arguments(_EVERY, measured.rows))


_EVERY = np.empty(0, np.int32)  # columns, all of which are kept


def stretch_of(batch: CSR | np.ndarray, width: int, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values of a batch, their column numbers, and where its rows begin.

    Raises
    ------
    CorruptDataError
        If column numbers, which become addresses, are beyond the matrix.
    """
    from .._kernels.csr import column_range

    if not isinstance(batch, CSR):
        n_rows = len(batch)
        return batch.reshape(-1), np.tile(np.arange(width, dtype=np.int32), n_rows), np.arange(n_rows + 1) * width
    values, indices, edges = batch.data[: batch.nnz], batch.indices[: batch.nnz], batch.indptr.astype(np.int64)
    smallest, largest = column_range(indices, edges[:-1], np.diff(edges))
    if len(indices) and not 0 <= smallest <= largest < width:
        where, got = f"Column numbers of `{key}`", f"{smallest}..{largest}"
        raise CorruptDataError(f"{where} must lie in 0..{width - 1}, got {got}: damaged.")
    return values, indices, edges


class MeasuredColumns:
    """Moments of the columns, to which the rows of windows are added one window after the other.

    Parameters
    ----------
    element
        The matrix.
    """

    def __init__(self, element: MeasuredCsr | MeasuredElement) -> None:
        self.element: Element = element
        self._columns = Moments(element.width)

    def add(self, window: ElementWindow, rows: np.ndarray) -> np.ndarray:
        """Add a window, and return ``(n_rows, 2)`` float64: the sum of each row, and its number of non-zeros."""
        assert isinstance(window, MeasuredWindow)
        for sums in window.columns:
            self._columns.add(sums)
        return window.rows

    def moments(self) -> tuple[Moments, list[Moments]]:
        """Return the moments of all rows that were added, and those by group: none."""
        return self._columns, []


class MeasuredGroups:
    """Moments of the columns by group of rows, to which the rows of windows are added one window after the other.

    Parameters
    ----------
    element
        The matrix.
    group
        ``(n_obs,)`` number of each row's group.
    n_groups
        Number of groups.
    """

    def __init__(self, element: MeasuredElement, group: np.ndarray, n_groups: int) -> None:
        self.element = element.element
        self._groups = [GroupMoments(element.width) for _ in range(n_groups)]
        self._key, self._width, self._group = element.key, element.width, group

    def add(self, window: ElementWindow, rows: np.ndarray) -> np.ndarray:
        """Add a window of ``rows``, and return ``(n_rows, 2)`` float64, as :meth:`MeasuredColumns.add` does."""
        from .._kernels.moments import add_moments
        from .._kernels.repeats import add_repeats

        batch, group = window.batch(0), self._group[rows]
        values, indices, edges = stretch_of(batch, self._width, self._key)
        if isinstance(batch, CSR) and add_repeats(indices, edges, self._width, None):
            values = values.astype(np.float64)  # sums may exceed the dtype
            add_repeats(indices, edges, self._width, values)
        of_rows, lengths = np.zeros((len(rows), 2)), np.diff(edges)
        order = np.argsort(group, kind="stable")  # so that the sums of one group stay in a core's cache
        order = order[lengths[order] > 0]
        cuts = np.append(np.flatnonzero(np.diff(group[order], prepend=-1)), len(order))
        for some in (order[a:b] for a, b in itertools.pairwise(cuts)):
            sums = self._groups[group[some[0]]].sums(len(some))
            pieces = edges[some], lengths[some], some
            add_moments(values, indices, 0, len(values), 0, pieces, *sums.arguments(_EVERY, of_rows))
        return of_rows

    def moments(self) -> tuple[Moments, list[Moments]]:
        """Return the moments of all rows that were added, and those by group. Nothing can be added any more."""
        of_all, by_group = Moments(self._width), []
        for _ in range(len(self._groups)):
            by_group.append(self._groups.pop(0).moments())
            of_all.join(by_group[-1])
        return of_all, by_group
