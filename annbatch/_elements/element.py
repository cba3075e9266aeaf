"""The interface of elements: each is planned, started, and cut into batches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._arrays.array import Job
    from .._plan.window_rows import DatasetRows, WindowRows
    from .._runtime.buffers import BufferPool
    from ..batch import CSR


class ElementWindow(Protocol):
    """One element's rows of one window, complete once the jobs that read them have run."""

    def batch(self, i: int) -> CSR | np.ndarray:
        """Return batch ``i`` as views of the window's memory."""


class ElementPlan(Protocol):
    """A plan of reading one element's rows of one window."""

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""

    def begin(self, pool: BufferPool, *, n_jobs: int) -> tuple[ElementWindow, list[Job]]:
        """Take the memory and return the window with the jobs that fill it."""


class Element(Protocol):
    """An element of all datasets of a loader."""

    def plan(self, window: WindowRows, shares: Sequence[DatasetRows]) -> ElementPlan:
        """Plan the reading of one window.

        ``shares`` are its rows by dataset; rows in none of them are empty or zero.
        """


def lend(pool: BufferPool, size: int, dtype: np.dtype) -> np.ndarray:
    """Return a flat array of ``size`` elements over memory of the pool."""
    return pool.lend(size * dtype.itemsize).view(dtype)


def followed_by(jobs: Sequence[Job], last: Callable[[], None]) -> list[Job]:
    """Return the jobs, the last of which to end also runs ``last``; one job that runs it if there are none.

    Meanwhile the other threads work on the next window.
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
