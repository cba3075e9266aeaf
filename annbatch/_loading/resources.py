"""Process-bound resources of a loader: reading threads, memory of windows, and counters."""

from __future__ import annotations

import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .._runtime.buffers import BufferPool, allocate_aligned
from .._runtime.fork import fork_safe_lock
from .._runtime.threads import check_process, usable_cores
from .read_ahead import ReadAhead
from .stats import WorkLog
from .window import LoadedWindow, WindowPlan, begin_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    import numpy as np

    from .._arrays.array import Job
    from .._arrays.direct_io import DirectIO
    from .._remote.loader_stores import RemoteStores
    from .stats import LoaderStats


class Reading:
    """Threads and window memory of one loader. An unpickled copy starts threads of its own.

    Parameters
    ----------
    allocate
        Function that returns 64-byte aligned host memory of a given size; None: ordinary memory.
    remote
        Object stores that are read from.
    direct_io
        Reads files around the page cache.

    Attributes
    ----------
    log
        Counters.
    warned
        Whether the read-amplification warning was already issued.
    warned_of_ranks
        Whether the warning about ranks that read the same rows was.
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] | None, remote: RemoteStores, direct_io: DirectIO) -> None:
        self._remote = remote
        self.direct_io = direct_io
        self._allocate = allocate
        self._pool = BufferPool(allocate or allocate_aligned)
        self._threads: tuple[int, ThreadPoolExecutor, ThreadPoolExecutor] | None = None
        self._open: weakref.WeakSet[ReadAhead[WindowPlan, LoadedWindow]] = weakref.WeakSet()
        self._lock = fork_safe_lock(reentrant=True)  # an iteration may be collected, and end, on the thread that has it
        self.log = WorkLog()
        self.warned = self.warned_of_ranks = False

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._allocate, self._remote, self.direct_io)

    @property
    def is_open(self) -> bool:
        """Whether an iteration is open: begun, and neither ended nor closed."""
        return len(self._open) > 0

    @property
    def stats(self) -> LoaderStats:
        """Counts so far."""
        return self.log.stats(
            peak_buffer_bytes=self._pool.peak_bytes + self.direct_io.peak_bytes,
            requests=self._remote.sent,
            bytes_received=self._remote.received,
            direct=self.direct_io.counts,
        )

    def windows(self, plans: Iterator[WindowPlan], *, budget: int) -> ReadAhead[WindowPlan, LoadedWindow]:
        """Return the windows that ``plans`` describes, read ahead within ``budget`` bytes.

        Call :meth:`end` with them when they are no longer needed.
        """
        # A window that nothing overlaps ends with its slowest thread: smaller jobs took 5 to 11 % off `take`.
        n_jobs = usable_cores() * (2 if budget else 4)

        def begin(plan: WindowPlan) -> LoadedWindow:
            return begin_window(plan, pool=self._pool, workers=workers, n_jobs=n_jobs, log=self.log)

        with self._lock:
            workers, planner = self._start_threads()
            windows = ReadAhead(plans, begin, planner=planner, budget=budget)
            self._open.add(windows)
        return windows

    def submit(self, job: Job) -> Future[None]:
        """Run a job on a reading thread.

        Raises
        ------
        RuntimeError
            If the threads were stopped.
        """
        with self._lock:
            workers, _ = self._start_threads()
        return workers.submit(self.log.run, job)

    def end(self, windows: ReadAhead[WindowPlan, LoadedWindow]) -> None:
        """Stop reading these windows."""
        windows.close()
        with self._lock:  # the requests of one that begins meanwhile come later, and are not cancelled
            self._open.discard(windows)
            if not self.is_open:
                self._remote.cancel()

    def close(self) -> None:
        """Stop open iterations and all threads; a later iteration starts threads again.

        In a process that was forked from the one that iterates there is nothing to stop.
        """
        if self._threads is not None and self._threads[0] != os.getpid():
            return
        with self._lock:  # an iteration that begins meanwhile is either closed, or has threads of its own
            threads, self._threads, begun = self._threads, None, list(self._open)
        for windows in begun:
            windows.close()
        self._remote.cancel()  # what threads wait for
        for executor in threads[1:] if threads is not None else ():
            executor.shutdown(wait=True)
        self.direct_io.close()

    def _start_threads(self) -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
        """Return the reading threads and the planning thread; start them in the process that iterates first."""
        if self._threads is None:
            workers = ThreadPoolExecutor(usable_cores(), thread_name_prefix="annbatch-read")
            planner = ThreadPoolExecutor(1, thread_name_prefix="annbatch-plan")
            self._threads = (os.getpid(), workers, planner)
        owner, workers, planner = self._threads
        check_process(owner)
        return workers, planner
