"""The rows that a modality has: the rest of the pipeline sees only those, and a mask marks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._anndata.keys import split_key
from .._elements.dense import DenseWindow
from .._elements.element import lend
from .._plan.pieces import lay_out
from .._plan.window_rows import DatasetRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._anndata.columns import Values
    from .._arrays.array import Job
    from .._plan.window_rows import WindowRows
    from .._runtime.buffers import BufferPool


@dataclass(frozen=True, slots=True)
class Presence:
    """The rows of one modality.

    Attributes
    ----------
    rows
        One per dataset: the modality's own number of each row, -1 where it lacks the row; None where the dataset
        lacks the modality.
    """

    rows: tuple[Values | None, ...]

    def shares(self, shares: Sequence[DatasetRows]) -> list[DatasetRows]:
        """Return a window's rows by the modality's own numbers, ascending, without those that it lacks."""
        found = []
        for share in shares:
            values = self.rows[share.dataset]
            if values is None:
                continue
            rows = values.take(share.rows).astype(np.int64, copy=False)
            there = np.flatnonzero(rows >= 0)
            rows, positions = rows[there], share.positions[there]
            if len(rows) and (np.diff(rows) < 0).any():
                order = np.argsort(rows, kind="stable")
                rows, positions = rows[order], positions[order]
            if len(rows):
                found.append(DatasetRows(share.dataset, rows, positions))
        return found


def mask_key(key: str) -> str:
    """Return the key of the mask that belongs to a modality's element."""
    return f"{split_key(key)[0]}mask"


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """The rows of a window that a modality has; known before anything is read.

    Attributes
    ----------
    there
        ``(n_rows,)`` bool.
    edges
        ``(n_batches + 1,)`` first row of each batch.
    """

    there: np.ndarray
    edges: np.ndarray

    @staticmethod
    def of(window: WindowRows, shares: Sequence[DatasetRows]) -> MaskPlan:
        """Mark the rows that the shares hold."""
        there = np.zeros(len(window.rows), dtype=bool)
        for share in shares:
            there[share.positions] = True
        return MaskPlan(there, window.edges)

    @property
    def nbytes(self) -> int:
        """Bytes of the mask."""
        return self.there.nbytes

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[DenseWindow, list[Job]]:
        """Copy the mask to memory of the pool, in which each batch's part is aligned."""
        layout = lay_out(np.ones(len(self.there), dtype=np.int64), self.edges)
        out = lend(pool, layout.size, self.there.dtype)
        out[layout.offset] = self.there
        return DenseWindow(out, self.edges, layout, ()), []
