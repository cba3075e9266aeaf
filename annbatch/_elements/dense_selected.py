"""A dense element of which some columns are kept, in an order of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._plan import Layout, Pieces, lay_out
from .._sources.array import split_evenly
from .dense import DenseWindow
from .element import lend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._buffers import BufferPool
    from .._plan import DatasetRows, WindowRows
    from .._sources.array import Job
    from .._sources.rows import DenseSource


@dataclass(frozen=True, slots=True)
class DenseSelectedElement:
    """A dense matrix with other columns than are stored; rows are read whole, then picked from.

    Attributes
    ----------
    sources
        One a dataset, of two dimensions.
    columns
        One a dataset: ``(n_stored_columns,)`` int32, where each stored column goes, -1 for nowhere.
    width
        Columns of a batch; those that a dataset lacks are 0 in its rows.
    dtype
        Of the values in a batch.
    """

    sources: tuple[DenseSource, ...]
    columns: tuple[np.ndarray, ...]
    width: int
    dtype: np.dtype

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DenseSelectedPlan:
        """Plan the reading of one window."""
        layout = lay_out(np.full(len(window.rows), self.width, dtype=np.int64), window.edges)
        pieces = tuple((share.dataset, share.rows, layout.offset[share.positions]) for share in shares)
        return DenseSelectedPlan(self, window.edges, layout, pieces)


@dataclass(frozen=True, slots=True)
class DenseSelectedPlan:
    """Which rows of which dataset go where."""

    element: DenseSelectedElement
    edges: np.ndarray
    layout: Layout
    pieces: tuple[tuple[int, np.ndarray, np.ndarray], ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the window's values."""
        return self.layout.size * self.element.dtype.itemsize

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[DenseWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""
        element = self.element
        out = lend(pool, self.layout.size, element.dtype)
        jobs: list[Job] = []
        for dataset, rows, dest in self.pieces:
            source, columns = element.sources[dataset], element.columns[dataset]
            for part in split_evenly(np.full(len(rows), source.shape[1]), n_jobs):
                jobs.append(partial(_read_and_pick, source, rows[part], dest[part], columns, element.width, out))
        return DenseWindow(out, self.edges, self.layout, (element.width,)), jobs


def _read_and_pick(
    source: DenseSource, rows: np.ndarray, dest: np.ndarray, columns: np.ndarray, width: int, out: np.ndarray
) -> int:
    stored = source.shape[1]
    read = np.empty((len(rows), stored), dtype=out.dtype)
    pieces = Pieces(rows, np.ones(len(rows), dtype=np.int64), np.arange(len(rows), dtype=np.int64) * stored)
    n_bytes = sum(job() for job in source.array.jobs(pieces, read.reshape(-1), n_jobs=1))
    kept = np.flatnonzero(columns >= 0)
    places = columns[kept]
    for row, to in zip(read, dest.tolist(), strict=True):
        target = out[to : to + width]
        if len(kept) < width:
            target[:] = 0
        target[places] = row[kept]
    return n_bytes
