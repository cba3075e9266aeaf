"""A sparse element whose batches are dense: made so as it is decoded, without a CSR matrix in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan import Layout, Pieces, lay_out
from .dense import DenseWindow
from .element import lend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._buffers import BufferPool
    from .._plan import DatasetRows, WindowRows
    from .._sources.array import Job
    from .._sources.rows import CsrSource


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

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DensifiedPlan:
        """Plan the reading of one window."""
        layout = lay_out(np.full(len(window.rows), self.width, dtype=np.int64), window.edges)
        pieces = []
        for share in shares:
            start, length = self.sources[share.dataset].extents(share.rows)
            pieces.append((share.dataset, Pieces(start, length, layout.offset[share.positions])))
        return DensifiedPlan(self, window.edges, layout, tuple(pieces))


@dataclass(frozen=True, slots=True)
class DensifiedPlan:
    """Where each dense row goes."""

    element: DensifiedElement
    edges: np.ndarray
    layout: Layout
    pieces: tuple[tuple[int, Pieces], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values."""
        return self.layout.size * self.element.dtype.itemsize

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[DenseWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        element = self.element
        out = lend(pool, self.layout.size, element.dtype)
        jobs: list[Job] = []
        for dataset, pieces in self.pieces:
            pair = element.sources[dataset].pair
            columns = element.columns[dataset]
            jobs += pair.dense_jobs(pieces, columns, element.width, out, n_jobs=n_jobs, target_sum=element.target_sum)
        return DenseWindow(out, self.edges, self.layout, (element.width,)), jobs
