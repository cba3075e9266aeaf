"""A dense element of any number of dimensions, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan import Layout, Pieces, lay_out
from .element import lend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._buffers import BufferPool
    from .._plan import DatasetRows, WindowRows
    from .._sources.array import Job
    from .._sources.rows import DenseSource


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
        return DenseWindow(out, self.edges, self.layout, self.element.item), jobs


@dataclass(frozen=True, slots=True)
class DenseWindow:
    """A window's buffer, and where each batch begins in it."""

    out: np.ndarray
    edges: np.ndarray
    layout: Layout
    item: tuple[int, ...]

    def batch(self, i: int) -> np.ndarray:
        """Return batch ``i`` as a view of the buffer."""
        start, n_rows = int(self.layout.batch[i]), int(self.edges[i + 1] - self.edges[i])
        return self.out[start : start + int(self.layout.filled[i])].reshape(n_rows, *self.item)
