"""An element whose values are changed once its rows have been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..batch import CSR
from .element import followed_by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._arrays.array import Job
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from ..transforms import Transform
    from .element import Element, ElementPlan, ElementWindow


@dataclass(frozen=True, slots=True)
class TransformedElement:
    """An element with a transform applied to each of its rows.

    Attributes
    ----------
    element
        Reads values, in the dtype that the transform takes.
    transform
        Changes values in place.
    """

    element: Element
    transform: Transform

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> TransformedPlan:
        """Plan the reading of one window."""
        return TransformedPlan(self.element.plan(window, shares), self.transform, window.n_parts)


@dataclass(frozen=True, slots=True)
class TransformedPlan:
    """The plan of the element, followed by the transform."""

    plan: ElementPlan
    transform: Transform
    n_batches: int

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""
        return self.plan.nbytes

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[ElementWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end transforms it."""
        from .._kernels.repeats import add_repeats

        window, jobs = self.plan.begin(pool, n_jobs=n_jobs)

        def change() -> None:
            for number in range(self.n_batches):
                batch = window.batch(number)
                if isinstance(batch, CSR):
                    values = batch.data[: batch.nnz]
                    wide = values.astype(np.float32) if values.dtype == np.float16 else values  # numba lacks float16
                    if add_repeats(batch.indices, batch.indptr, batch.shape[1], wide) and wide is not values:
                        values[:] = wide
                    self.transform(values, batch.indptr)
                else:
                    n_rows, size = len(batch), batch.size
                    self.transform(batch.reshape(-1), np.arange(n_rows + 1) * (size // max(n_rows, 1)))

        return window, followed_by(jobs, change)
