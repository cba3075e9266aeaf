"""Many requests at a time, within bounds on their number and their bytes, made on a thread of their own.

Everything but :meth:`Requests.submit` and the methods of :class:`Request` runs on one event loop, so no lock is needed:
a response's memory is released on any thread on which its last holder dies, garbage collection included.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .._runtime.fork import fork_safe_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .fetch import ByteRange, Response


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """Bytes of an object to request.

    Attributes
    ----------
    path
        Path of the object.
    bytes
        Range of its bytes.
    tag
        Entity tag that the object must have; None for any.
    nbytes
        Memory that the response is expected to take.
    what
        Returns what is done, for errors: "Reading bytes 0..9 of s3://bucket/key (chunk 0 of array s3://bucket/X)".
    most
        Most bytes that an object may have that is read whole; None for any number.
    """

    path: str
    bytes: ByteRange
    tag: str | None
    nbytes: int
    what: Callable[[], str]
    most: int | None = None


class Request:
    """A submitted request; the memory of its response stays reserved until the last holder of this object is gone."""

    def __init__(self, object_range: ObjectRange, requests: Requests) -> None:
        self.range = object_range
        self._requests = requests
        self.future: Future[Response | None] = Future()
        self.started = False
        self.reserved = 0  # bytes; like `started`, changed on the loop only

    def result(self) -> Response | None:
        """Wait for the response; None if there is no such object.

        Raises
        ------
        concurrent.futures.CancelledError
            If the request was cancelled.
        annbatch.errors.RemoteError
            If the store refuses, or the deadline has passed.
        """
        return self.future.result()

    def __del__(self) -> None:
        if self.reserved:
            self._requests.release(self.reserved)


class Requests:
    """The requests to one store.

    Requests start in the order in which they were submitted, while fewer than ``max_requests`` are under way and the
    responses that are under way or held take at most ``max_bytes``. Requests that a thread waits for start first, and
    regardless of the bytes, so that no thread waits for a request behind its own.

    Parameters
    ----------
    fetch
        Makes one request, with its retries.
    max_requests
        Requests under way at a time.
    max_bytes
        Bytes of responses under way or held.
    """

    def __init__(
        self, fetch: Callable[[ObjectRange], Coroutine[Any, Any, Response | None]], *, max_requests: int, max_bytes: int
    ) -> None:
        self._fetch = fetch
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._loop = event_loop()
        # Ordered sets. Requests leave them when they start: one that stayed would hold its response's memory.
        self._queue: dict[Request, None] = {}
        self._urgent: dict[Request, None] = {}
        self._tasks: set[asyncio.Task[Response | None]] = set()
        self._reserved_bytes = 0
        self.peak_bytes = 0
        self.peak_requests = 0

    def submit(self, ranges: Sequence[ObjectRange]) -> list[Request]:
        """Submit requests; return at once."""
        requests = [Request(one, self) for one in ranges]
        if requests:
            self._loop.call_soon_threadsafe(self._enqueue, self._queue, requests)
        return requests

    def prioritize(self, requests: Sequence[Request]) -> None:
        """Start requests before others, as a thread waits for them."""
        pending = [request for request in requests if not request.future.done()]
        if pending:
            self._loop.call_soon_threadsafe(self._enqueue, self._urgent, pending)

    @property
    def busy(self) -> bool:
        """Whether requests are under way or waiting."""
        return bool(self._tasks or self._urgent or self._queue)

    def cancel(self) -> None:
        """Cancel all requests: waiting threads get a ``CancelledError``. Safe during garbage collection."""
        with contextlib.suppress(RuntimeError):  # the loop is closed when the interpreter ends
            self._loop.call_soon_threadsafe(self._cancel)

    def release(self, nbytes: int) -> None:
        """Release the memory of a response. Called on any thread, where its last holder dies."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._release, nbytes)

    # On the loop ------------------------------------------------------------------------------------------------------

    def _enqueue(self, queue: dict[Request, None], requests: list[Request]) -> None:
        queue.update(dict.fromkeys(request for request in requests if not request.started))
        self._start()

    def _start(self) -> None:
        while len(self._tasks) < self._max_requests:
            request = self._next()
            if request is None:
                return
            request.started, request.reserved = True, request.range.nbytes
            self._reserved_bytes += request.reserved
            task = self._loop.create_task(self._fetch(request.range))
            self._tasks.add(task)
            task.add_done_callback(partial(self._finish, request))
            self.peak_bytes = max(self.peak_bytes, self._reserved_bytes)
            self.peak_requests = max(self.peak_requests, len(self._tasks))

    def _next(self) -> Request | None:
        request = next(iter(self._urgent), None)
        if request is None:
            request = next(iter(self._queue), None)
            if request is None or not self._fits(request):
                return None
        self._urgent.pop(request, None)
        self._queue.pop(request, None)
        return request

    def _fits(self, request: Request) -> bool:
        return self._reserved_bytes == 0 or self._reserved_bytes + request.range.nbytes <= self._max_bytes

    def _finish(self, request: Request, task: asyncio.Task[Response | None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            request.future.cancel()
        elif error is not None:
            request.future.set_exception(error)
        else:
            request.future.set_result(task.result())
        if request.future.cancelled() or error is not None:
            self._reserved_bytes -= request.reserved
            request.reserved = 0
        self._start()

    def _release(self, nbytes: int) -> None:
        self._reserved_bytes -= nbytes
        self._start()

    def _cancel(self) -> None:
        for queue in (self._urgent, self._queue):
            for request in queue:
                request.future.cancel()
            queue.clear()
        for task in self._tasks:
            task.cancel()


_started: tuple[int, asyncio.AbstractEventLoop] | None = None
_starting = fork_safe_lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """Return this process's event loop for requests; the first call starts its thread."""
    global _started
    with _starting:
        if _started is None or _started[0] != os.getpid():
            loop = asyncio.new_event_loop()
            # A daemon: an abandoned iterator must not keep the interpreter from exiting.
            threading.Thread(target=loop.run_forever, name="annbatch-requests", daemon=True).start()
            _started = (os.getpid(), loop)
        return _started[1]
