"""A window: its plan, its reading, its batches."""

from __future__ import annotations

from concurrent.futures import FIRST_EXCEPTION, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor, Future

    from ._buffers import BufferPool
    from ._elements import ElementPlan, ElementWindow
    from ._obs import ObsWindow
    from ._plan import WindowRows
    from ._stats import WorkLog


@dataclass(frozen=True, slots=True)
class WindowPlan:
    """What a window holds and how it will be read; no memory is taken yet.

    Attributes
    ----------
    number
        Its place in the epoch.
    rows
        Its rows, in batch order.
    elements
        What each element's reading will take, by key.
    obs
        Gathers the annotations of its rows; None where there are none.
    """

    number: int
    rows: WindowRows
    elements: Mapping[str, ElementPlan]
    obs: Callable[[], ObsWindow] | None

    @property
    def nbytes(self) -> int:
        """Bytes of array memory that the window will hold."""
        return sum(plan.nbytes for plan in self.elements.values())


class LoadedWindow:
    """A window whose reading has begun; its batches are right after :meth:`wait`."""

    def __init__(
        self,
        plan: WindowPlan,
        elements: Mapping[str, ElementWindow],
        reading: list[Future[None]],
        obs: Future[ObsWindow] | None,
    ) -> None:
        self.rows = plan.rows
        self.number = plan.number
        self.nbytes = plan.nbytes
        self._elements = elements
        self._reading = reading
        self._obs = obs

    @property
    def obs(self) -> ObsWindow | None:
        """The annotations of the window's rows."""
        return None if self._obs is None else self._obs.result()

    def element(self, key: str, batch: int) -> object:
        """Return one element of a batch, as views of the window's memory."""
        return self._elements[key].batch(batch)

    def wait(self) -> None:
        """Return when everything has been read; raise what the reading raised."""
        done, _ = wait(self._reading, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
        if self._obs is not None:
            self._obs.result()

    def cancel(self) -> None:
        """Drop the reading that has not begun."""
        for future in self._reading:
            future.cancel()


def begin_window(
    plan: WindowPlan, *, pool: BufferPool, workers: Executor, n_workers: int, log: WorkLog
) -> LoadedWindow:
    """Take the memory of a planned window and queue its reading."""
    elements, reading = {}, []
    obs = workers.submit(plan.obs) if plan.obs is not None else None
    for key, element in plan.elements.items():
        elements[key], jobs = element.begin(pool, n_jobs=2 * n_workers)
        reading += [workers.submit(log.run, job) for job in jobs]
    return LoadedWindow(plan, elements, reading, obs)
