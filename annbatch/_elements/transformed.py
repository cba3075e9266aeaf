"""An element whose values are changed once its rows have been read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..batch import CSR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        Reads values of the dtype that the transform wants.
    transform
        Changes them in place.
    """

    element: Element
    transform: Transform

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> TransformedPlan:
        """Plan the reading of one window."""
        return TransformedPlan(self.element.plan(window, shares), self.transform, window.n_batches)


@dataclass(frozen=True, slots=True)
class TransformedPlan:
    """The reading of the element as it is, and what comes after."""

    plan: ElementPlan
    transform: Transform
    n_batches: int

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""
        return self.plan.nbytes

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[ElementWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it; the last to end transforms it."""
        window, jobs = self.plan.begin(pool, n_jobs=n_jobs)

        def change() -> None:
            for number in range(self.n_batches):
                batch = window.batch(number)
                if isinstance(batch, CSR):
                    self.transform(batch.data[: batch.nnz], batch.indptr)
                else:
                    n_rows, size = len(batch), batch.size
                    self.transform(batch.reshape(-1), np.arange(n_rows + 1) * (size // max(n_rows, 1)))

        return window, followed_by(jobs, change)


def followed_by(jobs: Sequence[Job], last: Callable[[], None]) -> list[Job]:
    """Return the jobs, changed so that whichever ends last then runs ``last``, on its thread; if there are none, one.

    The other threads go on with the next window meanwhile.
    """
    lock, left = threading.Lock(), max(1, len(jobs))

    def run(job: Job) -> int:
        nonlocal left
        n_bytes = job()
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            last()
        return n_bytes

    return [lambda job=job: run(job) for job in jobs or [lambda: 0]]  # type: ignore[misc]  # bound early
