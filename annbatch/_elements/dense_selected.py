"""A dense element with selected columns, in any order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .._arrays.array import split_evenly
from .._plan.pieces import Pieces
from .dense import DensePlaces, DensePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._arrays.array import Job
    from .._arrays.rows import DenseSource
    from .._plan.window_rows import DatasetRows, WindowRows

_READ_BYTES = 4 << 20
"""Bytes of whole rows that a job holds at once: chunks are seldom decoded twice, and a window is far larger."""


@dataclass(frozen=True, slots=True)
class DenseSelectedElement:
    """A dense matrix with selected columns; rows are read whole, then the columns are picked.

    Attributes
    ----------
    sources
        One per dataset, of two dimensions.
    columns
        One per dataset: ``(n_stored_columns,)`` int32, destination of each stored column, -1 for none.
    width
        Number of columns of a batch; those that a dataset lacks are 0 in its rows.
    dtype
        Dtype of the values in a batch.
    """

    sources: tuple[DenseSource, ...]
    columns: tuple[np.ndarray, ...]
    width: int
    dtype: np.dtype

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> DensePlan:
        """Plan the reading of one window."""
        for share in shares:
            self.sources[share.dataset].check_rows(len(share.rows))
        places = DensePlaces.of(window, shares, (self.width,))
        fill = [
            partial(
                _jobs,
                self.sources[share.dataset],
                share.rows,
                places.of_share(share),
                self.columns[share.dataset],
                self.width,
            )
            for share in shares
        ]
        return DensePlan(places, self.dtype, tuple(fill))


def _jobs(
    source: DenseSource,
    rows: np.ndarray,
    dest: np.ndarray,
    columns: np.ndarray,
    width: int,
    out: np.ndarray,
    *,
    n_jobs: int,
) -> list[Job]:
    begins = np.flatnonzero(np.diff(rows // source.array.items_per_fetch, prepend=-1))
    edges = np.append(begins, len(rows))
    jobs: list[Job] = []
    for part in split_evenly(np.diff(edges) * source.shape[1], n_jobs):
        mine = edges[part.start : part.stop + 1]
        some = slice(mine[0], mine[-1])
        jobs.append(partial(_read_and_pick, source, rows[some], dest[some], mine - mine[0], columns, width, out))
    return jobs


def _read_and_pick(
    source: DenseSource,
    rows: np.ndarray,
    dest: np.ndarray,
    edges: np.ndarray,
    columns: np.ndarray,
    width: int,
    out: np.ndarray,
) -> int:
    stored = source.shape[1]
    cuts = _cuts(edges, max(1, _READ_BYTES // max(1, stored * out.dtype.itemsize)))
    read = np.empty((max(b - a for a, b in pairwise(cuts)), stored), dtype=out.dtype)
    kept = np.flatnonzero(columns >= 0)
    places = columns[kept]
    n_bytes = 0
    for first, stop in pairwise(cuts):
        some, to_places = rows[first:stop], dest[first:stop].tolist()
        pieces = Pieces(some, np.ones(len(some), dtype=np.int64), np.arange(len(some), dtype=np.int64) * stored)
        n_bytes += sum(job() for job in source.array.jobs(pieces, read.reshape(-1), n_jobs=1))
        for row, to in zip(read, to_places, strict=False):  # there may be fewer rows than room
            target = out[to : to + width]
            if len(kept) < width:
                target[:] = 0
            target[places] = row[kept]
    return n_bytes


def _cuts(edges: np.ndarray, most: int) -> list[int]:
    """Return a subset of ``edges``, first and last included, at most ``most`` rows apart where possible."""
    cuts = [0]
    while cuts[-1] < edges[-1]:
        far = np.searchsorted(edges, cuts[-1] + most, side="right") - 1
        near = np.searchsorted(edges, cuts[-1], side="right")
        cuts.append(int(edges[max(far, near)]))
    return cuts
