"""Windows read ahead of their consumer, within a byte budget."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from .._runtime.threads import check_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor


class Plan(Protocol):
    """The plan of a window, before any memory is taken for it."""

    @property
    def nbytes(self) -> int:
        """Bytes that the window will hold."""


class Window(Protocol):
    """A window that is being read."""

    @property
    def nbytes(self) -> int:
        """Bytes that the window holds."""

    def wait(self) -> None:
        """Return when all of it has been read; raise what the reading raised."""

    def cancel(self) -> None:
        """Cancel jobs that have not started."""


PlanT = TypeVar("PlanT", bound=Plan)
WindowT = TypeVar("WindowT", bound=Window)


class ReadAhead(Generic[PlanT, WindowT]):
    """An iterator over windows that starts reading the next ones while the consumer works on one.

    No thread ever blocks for the consumer: planning is a task that starts as many windows as there is room
    for and ends; taking a window queues the next such task. An abandoned iterator therefore holds nothing up, at
    interpreter exit either.

    Parameters
    ----------
    plans
        Plans of the windows, in order; consumed on ``planner`` only.
    start
        Takes the memory of a planned window and queues its reading.
    planner
        An executor with **one** thread.
    budget
        Bytes of windows read ahead; one window is read ahead whatever its size. 0: nothing is, each window is
        planned and read when it is asked for.
    """

    def __init__(
        self,
        plans: Iterator[PlanT],
        start: Callable[[PlanT], WindowT],
        *,
        planner: Executor,
        budget: int,
    ) -> None:
        self._plans = plans
        self._start = start
        self._planner = planner
        self._budget = budget
        self._process = os.getpid()
        self._planned: PlanT | None = None
        self._changed = threading.Condition()
        self._ahead: deque[WindowT] = deque()
        self._ahead_bytes = 0
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def __iter__(self) -> Iterator[WindowT]:
        return self

    def __next__(self) -> WindowT:
        """Return the next window, fully read; after :meth:`close` raise RuntimeError, as the rest would be missing."""
        check_process(self._process)
        if self._closed:
            raise _closed_error()
        try:
            window = self._start(next(self._plans)) if self._budget == 0 else self._take()
            window.wait()
        except CancelledError:  # closed on another thread, while this one waited
            raise _closed_error() from None
        except RuntimeError:  # as executors raise once they are shut down
            if self._closed:
                raise _closed_error() from None
            raise
        return window

    def close(self) -> None:
        """Start no more windows and drop what has been started.

        Safe wherever garbage is collected and after the executors were shut down: it takes no lock that its own
        thread cannot take twice, so it submits nothing to an executor.
        """
        if os.getpid() != self._process:
            return  # a forked child's copy: the lock may be held by a thread that is not here to release it
        with self._changed:
            self._ended = self._closed = True
            ahead, self._ahead = list(self._ahead), deque()
            self._changed.notify_all()
        for window in ahead:
            window.cancel()
        # The last reference to a sampler's generator is gone here, or on the planner once it has done its step:
        # either way the generator is not running then, and reaches its `finally`.
        self._plans = iter(())

    def _take(self) -> WindowT:
        with self._changed:
            if not self._ahead and not self._ended:
                self._planner.submit(self._advance)
            while not self._ahead:
                if self._error is not None:
                    raise self._error
                if self._closed:
                    raise _closed_error()
                if self._ended:
                    raise StopIteration
                self._changed.wait()
            window = self._ahead.popleft()
            self._ahead_bytes -= window.nbytes
        self._planner.submit(self._advance)
        return window

    def _advance(self) -> None:
        """Plan and start windows until the budget is full or none is left. Runs on the planner's one thread."""
        try:
            while not self._ended:
                if self._planned is None:
                    self._planned = next(self._plans, None)
                if self._planned is None:
                    self._end(None)
                    return
                with self._changed:
                    if self._ahead and self._ahead_bytes + self._planned.nbytes > self._budget:
                        return
                window = self._start(self._planned)
                self._planned = None
                self._add(window)
        except BaseException as error:
            self._end(error)

    def _add(self, window: WindowT) -> None:
        with self._changed:
            if self._ended:  # closed while this one was being started
                window.cancel()
                return
            self._ahead.append(window)
            self._ahead_bytes += window.nbytes
            self._changed.notify_all()

    def _end(self, error: BaseException | None) -> None:
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify_all()


def _closed_error() -> RuntimeError:
    return RuntimeError("The iterator was closed before its end: the loader's `close` stops every open iteration.")
