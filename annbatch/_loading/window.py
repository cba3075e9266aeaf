"""A window: its plan, its reading, its batches."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor, Future

    from .._anndata.table import ObsWindow
    from .._elements.element import ElementPlan, ElementWindow
    from .._plan.window_rows import WindowRows
    from .._runtime.buffers import BufferPool
    from .stats import WorkLog


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """Rows of a window and how they will be read; no memory is taken yet.

    Attributes
    ----------
    number
        Number of the window in the epoch.
    rows
        Rows of the window, in the order of batches.
    elements
        Plan of each element, by key.
    frames
        Functions that gather the annotations of its rows, by key.
    """

    number: int
    rows: WindowRows
    elements: Mapping[str, ElementPlan]
    frames: Mapping[str, Callable[[], ObsWindow]]

    @property
    def nbytes(self) -> int:
        """Bytes of array memory that the window will hold."""
        return sum(plan.nbytes for plan in self.elements.values())


class LoadedWindow:
    """A window that is being read; its batches are complete after :meth:`wait`."""

    def __init__(
        self,
        plan: WindowPlan,
        elements: Mapping[str, ElementWindow],
        reading: list[Future[None]],
        frames: Mapping[str, Future[ObsWindow]],
    ) -> None:
        self.rows = plan.rows
        self.number = plan.number
        self.nbytes = plan.nbytes
        self.elements = elements
        self._reading = reading
        self.frames = frames

    def element(self, key: str, batch: int) -> object:
        """Return one element of a batch, as views of the window's memory."""
        return self.elements[key].batch(batch)

    def frame(self, key: str, start: int, stop: int) -> object:
        """Return one data frame's rows ``start:stop`` of the window, as it was gathered."""
        return self.frames[key].result().batch(start, stop)

    def wait(self) -> None:
        """Wait until everything has been read; raise what the reading raised."""
        done, _ = wait(self._futures(), return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()

    def cancel(self) -> None:
        """Cancel jobs that have not started."""
        for future in self._futures():
            future.cancel()

    def _futures(self) -> list[Future[Any]]:
        return [*self._reading, *self.frames.values()]


def begin_window(plan: WindowPlan, *, pool: BufferPool, workers: Executor, n_jobs: int, log: WorkLog) -> LoadedWindow:
    """Take the memory of a planned window and queue its reading."""
    elements, reading = {}, []
    frames = {key: workers.submit(log.gather, gather) for key, gather in plan.frames.items()}
    for key, element in plan.elements.items():
        elements[key], jobs = element.begin(pool, n_jobs=n_jobs)
        reading += [workers.submit(log.run, job) for job in jobs]
    return LoadedWindow(plan, elements, reading, frames)
