"""Many requests at a time, within a bound on their number and on their bytes, answered on a thread of their own.

All that is here but :meth:`Requests.submit` and what :class:`Request` offers runs on one event loop, so that no lock is
needed: a request's memory comes back wherever its last holder dies, garbage collection included.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from .fetch import Answer, ByteRange


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """What one request asks for.

    Attributes
    ----------
    path
        Of the object.
    bytes
        Which of it.
    tag
        The entity tag that the object must have; None for any.
    nbytes
        What the answer is expected to take in memory.
    what
        Returns what this is, for errors: object, bytes, chunks, array.
    """

    path: str
    bytes: ByteRange
    tag: str | None
    nbytes: int
    what: Callable[[], str]


class Request:
    """A request that was handed in; its answer's memory is booked until the last holder of this object is gone."""

    def __init__(self, wanted: ObjectRange, requests: Requests) -> None:
        self.wanted = wanted
        self._requests = requests
        self.future: Future[Answer | None] = Future()
        self.begun = False
        self.booked = 0  # bytes; as `begun`, the loop's own

    def result(self) -> Answer | None:
        """Wait for the answer; None if there is no such object.

        Raises
        ------
        concurrent.futures.CancelledError
            If the reading was stopped.
        annbatch.errors.RemoteError
            If it was refused, or not answered within the deadline.
        """
        return self.future.result()

    def __del__(self) -> None:
        if self.booked:
            self._requests.give_back(self.booked)


class Requests:
    """The requests of one store.

    Requests are begun in the order in which they were handed in, while fewer than ``most`` are under way and answers
    that nobody has let go of take no more than ``most_bytes``. One that is waited for comes first, and whatever the
    bytes: so that what waits never depends on the end of something behind it.

    Parameters
    ----------
    answer
        Answers one.
    most
        Requests at a time.
    most_bytes
        Bytes of answers under way or held.
    """

    def __init__(
        self, answer: Callable[[ObjectRange], Coroutine[Any, Any, Answer | None]], *, most: int, most_bytes: int
    ) -> None:
        self._answer = answer
        self._most = most
        self._most_bytes = most_bytes
        self._loop = event_loop()
        # Ordered, and left by a request that begins: one that stayed would hold its answer's memory.
        self._waiting: dict[Request, None] = {}
        self._first: dict[Request, None] = {}
        self._tasks: set[asyncio.Task[Answer | None]] = set()
        self._held_bytes = 0
        self.peak_bytes = 0
        self.peak_requests = 0

    def submit(self, wanted: Sequence[ObjectRange]) -> list[Request]:
        """Hand requests in; return at once."""
        requests = [Request(one, self) for one in wanted]
        if requests:
            self._loop.call_soon_threadsafe(self._take, self._waiting, requests)
        return requests

    def prioritize(self, requests: Sequence[Request]) -> None:
        """Have requests begun before others: somebody waits for them."""
        late = [request for request in requests if not request.future.done()]
        if late:
            self._loop.call_soon_threadsafe(self._take, self._first, late)

    @property
    def busy(self) -> bool:
        """Whether requests are under way or waiting."""
        return bool(self._tasks or self._first or self._waiting)

    def cancel(self) -> None:
        """Drop all requests; those who wait for one get a ``CancelledError``. Safe wherever garbage is collected."""
        with contextlib.suppress(RuntimeError):  # the loop is closed when the interpreter ends
            self._loop.call_soon_threadsafe(self._cancel)

    def give_back(self, nbytes: int) -> None:
        """Book the memory of an answer as free. Called from wherever its last holder dies."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._free, nbytes)

    # On the loop ------------------------------------------------------------------------------------------------------

    def _take(self, queue: dict[Request, None], requests: list[Request]) -> None:
        queue.update(dict.fromkeys(request for request in requests if not request.begun))
        self._begin()

    def _begin(self) -> None:
        while len(self._tasks) < self._most:
            request = self._next()
            if request is None:
                return
            request.begun, request.booked = True, request.wanted.nbytes
            self._held_bytes += request.booked
            task = self._loop.create_task(self._answer(request.wanted))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, request))
            self.peak_bytes = max(self.peak_bytes, self._held_bytes)
            self.peak_requests = max(self.peak_requests, len(self._tasks))

    def _next(self) -> Request | None:
        request = next(iter(self._first), None)
        if request is None:
            request = next(iter(self._waiting), None)
            if request is None or not self._fits(request):
                return None
        self._first.pop(request, None)
        self._waiting.pop(request, None)
        return request

    def _fits(self, request: Request) -> bool:
        return self._held_bytes == 0 or self._held_bytes + request.wanted.nbytes <= self._most_bytes

    def _ended(self, request: Request, task: asyncio.Task[Answer | None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            request.future.cancel()
        elif error is not None:
            request.future.set_exception(error)
        else:
            request.future.set_result(task.result())
        if request.future.cancelled() or error is not None:
            self._held_bytes -= request.booked
            request.booked = 0
        self._begin()

    def _free(self, nbytes: int) -> None:
        self._held_bytes -= nbytes
        self._begin()

    def _cancel(self) -> None:
        for queue in (self._first, self._waiting):
            for request in queue:
                request.future.cancel()
            queue.clear()
        for task in self._tasks:
            task.cancel()


_started: tuple[int, asyncio.AbstractEventLoop] | None = None
_starting = threading.Lock()


def event_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process on which requests are made; start its thread at the first call."""
    global _started
    with _starting:
        if _started is None or _started[0] != os.getpid():
            loop = asyncio.new_event_loop()
            # A daemon: an iterator that was abandoned must not keep the interpreter from ending.
            threading.Thread(target=loop.run_forever, name="annbatch-requests", daemon=True).start()
            _started = (os.getpid(), loop)
        return _started[1]
