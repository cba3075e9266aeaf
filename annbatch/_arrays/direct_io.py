"""Reading around the page cache: threads that keep a disk busy, and the decision to read so."""

from __future__ import annotations

import errno
import os
import queue
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import numpy as np

from .._arguments import flag
from .._plan.requests import plan_requests
from .._runtime.buffers import BufferPool, allocate_aligned
from .._runtime.fork import fork_safe_lock
from .._runtime.memory import available_memory
from .._runtime.threads import check_process

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._kernels.direct_io import Queue
    from .._plan.requests import RequestPlan

T = TypeVar("T")

_THREADS, _DEPTH = 2, 64
"""Queues, one per thread, and requests in flight in each: disks gave most single rows with 128 of them."""

_MOST_STAGED = 256 << 20
"""Bytes that may wait to be decoded; what a reading thread waits for is read in any case."""

_TOGETHER = 8 << 10
"""Ranges closer than this many bytes are read as one: a disk reads them in the time that one more request takes."""

_SHARE_OF_MEMORY = 0.8
"""Files are kept in memory if they fit into this share of what is free: windows and training take some."""

_TRIED = 4096
"""Requests after which a file system that had none in flight meanwhile is read through the page cache."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """What was read of ranges of files.

    Attributes
    ----------
    address
        ``(n,)`` int64 address of each range.
    nbytes
        ``(n,)`` int64 bytes that were read of it, from its beginning; fewer than asked for where the disk failed.
    memory
        The memory, which lives as long as this.
    """

    address: np.ndarray
    nbytes: np.ndarray
    memory: np.ndarray


Read: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], Ranges]
"""Reads ranges, given the descriptor of the file of each, and where it begins and ends: ``(n,)`` int64."""


@dataclass(slots=True)
class DirectCounts:
    """What was read around the page cache.

    Attributes
    ----------
    requests, bytes_read, bytes_wanted
        Requests; bytes that they read; bytes that were needed of them.
    seconds
        Seconds in which a request was in flight.
    request_seconds
        Requests in flight, summed up over time.
    """

    requests: int = 0
    bytes_read: int = 0
    bytes_wanted: int = 0
    seconds: float = 0.0
    request_seconds: float = 0.0

    @property
    def in_flight(self) -> float:
        """Requests in flight, on average."""
        return self.request_seconds / self.seconds if self.seconds else 0.0


class Array(Protocol):
    """An array that may be read so; see :class:`~annbatch._arrays.array.StoredArray`."""

    direct_io: DirectIO | None

    def stored_bytes(self) -> int:
        """Return about the size of its files."""


class Source(Protocol):
    """A matrix."""

    @property
    def arrays(self) -> Sequence[Array]:
        """The arrays that hold it."""


class DirectIO:
    """Reads files around the page cache for one loader, with many requests in flight. Thread-safe.

    The page cache would copy each byte once more, take memory for it, and lose it again before the next epoch where
    files are larger than memory. Where they fit, the cache is better: later epochs come from memory.

    Parameters
    ----------
    chosen
        Whether to read so; None: where the files of a loader do not fit into the memory that is free.

    Attributes
    ----------
    counts
        What was read so.
    is_used
        Whether arrays are read so where the page cache lacks them.
    refused
        Why they cannot be; empty if they can.
    """

    def __init__(self, chosen: bool | None) -> None:
        self._chosen = chosen
        self._stored: tuple[int, int] = 0, 0  # number of arrays, and their bytes
        self._lock = fork_safe_lock(reentrant=True)  # what waits may be collected on the thread that has it
        self._threads: _Threads | None = None
        self._waiting: deque[weakref.ref[Batch[Any]]] = deque()
        self._n_started = self._n_reading = 0
        self._ended: deque[None] = deque()  # one for each that has ended, or was cancelled, since they were counted
        self._pool, self._since = BufferPool(_allocate), 0.0
        self.counts, self.is_used, self.refused = DirectCounts(), False, ""

    @classmethod
    def of(cls, argument: Any) -> DirectIO:
        """Return what the argument of a loader asks for; raise ``TypeError`` if it is neither None nor a flag."""
        return cls(None if argument is None else flag(argument, "direct_io"))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._chosen,)

    @property
    def peak_bytes(self) -> int:
        """Largest memory of encoded chunks at one time."""
        return self._pool.peak_bytes

    def choose(self, sources: Iterable[Source]) -> None:
        """Decide how the arrays of a loader are read from now on, and tell them."""
        if self._chosen is False:
            return
        arrays = [array for source in sources for array in source.arrays]
        if self._stored[0] != len(arrays):  # a loader's arrays become more, and none changes
            self._stored = len(arrays), sum(array.stored_bytes() for array in arrays)
        self.is_used = self._is_chosen(self._stored[1]) and self.start()
        for array in arrays:
            array.direct_io = self if self.is_used else None

    def _is_chosen(self, stored: int) -> bool:
        if self._chosen or not stored:
            return stored > 0
        memory = available_memory()
        return memory is not None and stored > _SHARE_OF_MEMORY * memory

    def start(self) -> bool:
        """Start the threads if they do not run; return whether files can be read so."""
        with self._lock:
            if self._threads is None and not self.refused:
                try:
                    self._threads = _Threads()
                except OSError as error:
                    self.refused = str(error)
            return not self.refused

    def submit(self, work: Callable[[Read], T]) -> Batch[T]:
        """Let ``work`` read on a thread that waits for the disk, once few bytes wait to be decoded."""
        batch = Batch(work)
        with self._lock:
            self._waiting.append(weakref.ref(batch))
        self._advance()
        return batch

    def result(self, batch: Batch[T]) -> T:
        """Wait for a batch, and return what its work returned."""
        self._begin(batch)
        self._advance()  # memory of earlier ones may be free by now
        assert batch.reading is not None
        return batch.reading.result()

    def _advance(self) -> None:
        """Begin batches in their order, as many as keep the threads busy."""
        with self._lock:
            while self._ended:
                self._ended.pop()
                self._n_started -= 1
            while self._waiting and self._n_started < 2 * _THREADS and self._pool.lent_bytes < _MOST_STAGED:
                batch = self._waiting.popleft()()
                if batch is not None:
                    self._begin(batch)

    def _begin(self, batch: Batch[Any]) -> None:
        with self._lock:
            if batch.reading is not None:
                return
            if not self.start():
                batch.reading = Future()
                batch.reading.set_result(batch.work(_read_nothing))
                return
            assert self._threads is not None, "they were started"
            self._n_started += 1
            batch.reading = self._threads.submit(partial(self._run, batch.work))
        batch.reading.add_done_callback(self._note_end)

    def _note_end(self, reading: Future[Any]) -> None:
        # The garbage collector may cancel it anywhere, within an executor's `submit` too: no lock is taken then.
        self._ended.append(None)
        if not reading.cancelled():
            with suppress(RuntimeError):  # the interpreter ends
                self._advance()

    def _run(self, work: Callable[[Read], T], one: Queue) -> T:
        return work(lambda fd, begin, end: self._read(one, fd, begin, end))

    def _read(self, one: Queue, fd: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Ranges:
        plan, of = _requests(fd, begin, end)
        size = plan.stop - plan.start
        position = np.cumsum(size) - size
        memory = self._pool.lend(int(size.sum()))
        got = np.zeros(len(size) + 1, np.int64)  # the last one is that of empty ranges
        with ExitStack() as files:
            try:
                descriptor, file = np.unique(plan.file, return_inverse=True)
                directly = np.array([_open_directly(number, files) for number in descriptor.tolist()], np.int64)
                to = memory.ctypes.data + position
                got[:-1] = self._fill(one, (directly[file], plan.start, size, to), int((end - begin).sum()))
            except OSError as error:  # what was not read, kernels read through the page cache
                self.refused = "the file system has no direct I/O" if error.errno == errno.EINVAL else str(error)
        skip = begin - np.append(plan.start, 0)[of]
        address = memory.ctypes.data + np.append(position, 0)[of] + skip
        return Ranges(address, np.clip(got[of] - skip, 0, end - begin), memory)

    def _fill(
        self, one: Queue, requests: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], wanted: int
    ) -> np.ndarray:
        """Send requests, as :meth:`Queue.read` takes them, return how many bytes of each were read, and count."""
        begun, counts = time.perf_counter(), self.counts
        with self._lock:
            self._since, self._n_reading = self._since if self._n_reading else begun, self._n_reading + 1
        waits, in_flight = 0, 0
        try:
            got, waits, in_flight = one.read(*requests)
        finally:
            now = time.perf_counter()
            with self._lock:
                self._n_reading -= 1
                counts.seconds += 0 if self._n_reading else now - self._since
                counts.request_seconds += in_flight / max(waits, 1) * (now - begun)
        with self._lock:
            counts.requests += len(got)
            counts.bytes_read += int(got.sum())
            counts.bytes_wanted += wanted
            if len(got) and not got.any():
                self.refused = "the file system refuses such requests"
            if self._chosen is None and counts.requests > _TRIED and counts.request_seconds < 0.5 * counts.seconds:
                self.refused = "the file system reads one range after the other"
        return got

    def close(self) -> None:
        """Stop the threads; whoever reads then starts them again."""
        with self._lock:
            threads, self._threads = self._threads, None
            self._waiting.clear()
        if threads is not None:
            threads.close()


class Batch(Generic[T]):
    """Ranges that are read together; cancelled when nothing needs them any more."""

    def __init__(self, work: Callable[[Read], T]) -> None:
        self.work = work
        self.reading: Future[T] | None = None
        self._process = os.getpid()

    def __del__(self) -> None:
        if self.reading is not None and self._process == os.getpid():  # its lock may be held in a forked child
            self.reading.cancel()


class _Threads:
    """Threads that wait for a disk, each with a queue of requests.

    Raises
    ------
    OSError
        If the operating system has no such queues, or no more of them.
    """

    def __init__(self) -> None:
        from .._kernels.direct_io import Queue

        self._process, self._queues = os.getpid(), queue.SimpleQueue[Queue]()
        for _ in range(_THREADS):
            one = Queue(_DEPTH)
            weakref.finalize(self, one.close).atexit = False
            self._queues.put(one)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="annbatch-disk")

    def submit(self, work: Callable[[Queue], T]) -> Future[T]:
        check_process(self._process)
        return self._pool.submit(self._run, work)

    def _run(self, work: Callable[[Queue], T]) -> T:
        one = self._queues.get()
        try:
            return work(one)
        finally:
            self._queues.put(one)

    def close(self) -> None:
        if self._process == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)
            while not self._queues.empty():
                self._queues.get().close()


def _read_nothing(fd: np.ndarray, begin: np.ndarray, end: np.ndarray) -> Ranges:
    return Ranges(np.zeros_like(begin), np.zeros_like(begin), np.empty(0, np.uint8))


def _allocate(nbytes: int) -> np.ndarray:
    from .._kernels.direct_io import UNIT

    return allocate_aligned(nbytes, alignment=UNIT)


def _open_directly(fd: int, opened: ExitStack) -> int:
    """Return another descriptor of an open file, whatever its path means by now, for direct I/O."""
    direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    opened.callback(os.close, direct)
    return direct


def _requests(fd: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[RequestPlan, np.ndarray]:
    """Return requests for ranges, in whole units of a disk; and the request that holds each, -1 of an empty range."""
    from .._kernels.direct_io import UNIT

    of, filled = np.full(len(fd), -1), end > begin
    plan = plan_requests(fd[filled], begin[filled] // UNIT * UNIT, -(-end[filled] // UNIT) * UNIT, gap=_TOGETHER)
    of[filled] = plan.request
    return plan, of
