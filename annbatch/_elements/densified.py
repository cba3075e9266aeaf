"""A sparse element whose batches are dense: made so as it is decoded, without a CSR matrix in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._plan.pieces import Pieces
from .dense import DensePlaces, DensePlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._arrays.sources import CsrSource
    from .._plan.window_rows import DatasetRows, WindowRows


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
