"""A matrix of which only the moments of its columns and the sums of its rows are kept, not the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._arrays.moments import ColumnSums
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
    from .element import Element, ElementPlan

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
        from .._kernels.csr import column_range
        from .._kernels.moments import add_moments

        width = self.element.width
        if isinstance(batch, CSR):
            values, indices, edges = batch.data[: batch.nnz], batch.indices[: batch.nnz], batch.indptr.astype(np.int64)
        else:
            values, edges = batch.reshape(-1), np.arange(self.n_rows + 1) * width
            indices = np.tile(np.arange(width, dtype=np.int32), self.n_rows)
        filled = np.flatnonzero(np.diff(edges))
        pieces = edges[filled], np.diff(edges)[filled], filled
        smallest, largest = column_range(indices, *pieces[:2])
        if len(indices) and not 0 <= smallest <= largest < width:
            where, got = f"Column numbers of `{self.element.key}`", f"{smallest}..{largest}"
            raise CorruptDataError(f"{where} must lie in 0..{width - 1}, got {got}: damaged.")
        (sums,) = measured.columns
        arguments = (np.empty(0, np.int32), sums.small, sums.others, measured.rows, sums.state)
        add_moments(values, indices, 0, len(values), 0, pieces, *arguments)
