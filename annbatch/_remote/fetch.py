"""One request to an object store, with its retries."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .._runtime.threads import claim_threads
from ..errors import CorruptDataError, RemoteError
from .faults import MISSING, OtherBytesError, ReplacedObjectError, TruncatedResponseError, fault_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from obstore.store import ObjectStore

T = TypeVar("T")

_log = logging.getLogger("annbatch")
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
"""Seconds. A pause is drawn from 0 to the bound, which doubles from the first to the longest ("full jitter": clients
that failed together do not come back together, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""

_SLOWEST = 1e6
"""Bytes per second that a link must carry for large objects to be written: a shard of 500 MB then takes 8 minutes.
obstore itself gives up on a part that takes 30 s."""

_LARGE = 64 << 20
"""Bytes of a response for which obstore may take memory before it receives them; a server can claim any number, and
Rust ends the process where there is no such memory."""

_under_way: set[asyncio.Task[Any]] = set()  # on any loop


_ending = False


def _cancel_all() -> None:
    global _ending
    _ending = True
    for task in list(_under_way):
        with contextlib.suppress(RuntimeError):  # its loop is closed
            task.get_loop().call_soon_threadsafe(task.cancel)


# The interpreter ends only when the reading threads have, and these may wait for a server until the deadline. It runs
# such functions before it joins threads; those of `atexit` run after that. concurrent.futures depends on it, too.
threading._register_atexit(_cancel_all)  # type: ignore[attr-defined]
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_under_way.clear)

_jitter = random.Random()  # drawing from the global generator would change a user's seeded numbers


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait for an object store.

    Attributes
    ----------
    timeout
        Seconds per attempt.
    deadline
        Seconds after which no further attempt is made.
    """

    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        for name in ("timeout", "deadline"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")

    def for_bytes(self, nbytes: int) -> RetryPolicy:
        """Return the policy for writing an object of a given size in one request."""
        more = nbytes / _SLOWEST
        return RetryPolicy(self.timeout + more, self.deadline + more)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes of an object: ``start`` to ``stop``, the last ``suffix``, or all if none of them is given."""

    start: int | None = None
    stop: int | None = None
    suffix: int | None = None

    def within(self, size: int) -> tuple[int, int]:
        """Return first and end of these bytes in an object of ``size`` bytes, which must hold all but a suffix."""
        if self.suffix is not None:
            return max(0, size - self.suffix), size
        return (0, size) if self.start is None or self.stop is None else (self.start, self.stop)

    def __str__(self) -> str:
        if self.suffix is not None:
            return f"the last {self.suffix} bytes"
        return "all bytes" if self.stop is None else f"bytes {self.start}..{self.stop - 1}"


@dataclass(frozen=True, slots=True)
class Response:
    """Bytes of an object, with its size and its version.

    Attributes
    ----------
    data
        The bytes; supports the buffer protocol.
    size
        Bytes of the whole object.
    tag
        Entity tag of the object, which changes with its content; None if the store gives none.
    """

    data: Any
    size: int
    tag: str | None


# obstore's `retry_config` cannot replace this (0.12, with faults injected before an S3 server). Under 5 % of stalls,
# resets, truncations or 503s, 400 reads took as long with either. But obstore did not retry truncated lists, bulk
# deletes, conditional writes, status 425, or truncated objects without entity tag; it ended 0.5 s after a deadline of
# 2 s (it lets the last attempt finish); it does not report attempts; and it cannot be set for a store that users made.
async def retry(attempt: Callable[[], Awaitable[T]], what: Callable[[], str], policy: RetryPolicy) -> T:
    """Return the result of ``attempt``, retried after transient faults until the deadline.

    Parameters
    ----------
    attempt
        Makes one request.
    what
        Returns what is done, for errors: "Reading s3://bucket/key".
    policy
        Limits in time.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    annbatch.errors.CorruptDataError
        If the object is larger than it can be.
    annbatch.errors.RemoteError
        If the store refuses, or the deadline has passed.
    """
    claim_threads("obstore")
    if _ending:
        raise asyncio.CancelledError
    task: Any = asyncio.current_task()
    _under_way.add(task)
    try:
        return await _retry(attempt, what, policy)
    finally:
        _under_way.discard(task)


async def _retry(attempt: Callable[[], Awaitable[T]], what: Callable[[], str], policy: RetryPolicy) -> T:
    begin, attempts, bound = time.monotonic(), 0, _FIRST_PAUSE
    while True:
        remaining = policy.deadline - (time.monotonic() - begin)
        attempts += 1
        try:
            async with asyncio.timeout(min(policy.timeout, remaining)):
                return await attempt()
        except ReplacedObjectError:
            raise
        except CorruptDataError as error:
            too_large = str(error)
            break
        except Exception as error:
            fault = fault_of(error)
        # Raised outside the handler: the caught error quotes the URL, and would be shown as the context.
        if fault is MISSING:
            raise FileNotFoundError(f"{what()} failed: {fault.reason}.")
        if not fault.transient:
            raise RemoteError(f"{what()} failed: {fault.reason}.")
        pause = _jitter.uniform(0, bound)
        if time.monotonic() - begin + pause >= policy.deadline:
            raise RemoteError(
                f"{what()} failed after {attempts} attempt{'s' if attempts > 1 else ''} within the deadline of "
                f"{policy.deadline:g} s; last error: {fault.reason}."
            )
        _log.info("%s failed, attempt %d, and is retried: %s.", what(), attempts, fault.reason)
        await asyncio.sleep(pause)
        bound = min(2 * bound, _LONGEST_PAUSE)
    raise CorruptDataError(f"{what()} failed: the object {too_large}")


async def get(
    store: ObjectStore, path: str, byte_range: ByteRange, tag: str | None, most: int | None = None
) -> Response:
    """Read bytes of an object, in one attempt.

    Raises
    ------
    annbatch.errors.CorruptDataError
        If there are more than ``most`` of them, which are not received.
    TruncatedResponseError
        If fewer bytes came than the response states.
    OtherBytesError
        If the response states other bytes than were requested.
    ReplacedObjectError
        If the object's tag is not ``tag``, unless that is None.
    """
    import obstore
    from obstore.exceptions import NotSupportedError

    options: dict[str, Any] = {}
    if byte_range.suffix is not None:
        options["range"] = {"suffix": byte_range.suffix}
    elif byte_range.start is not None and byte_range.stop is not None:
        options["range"] = (byte_range.start, byte_range.stop)
    try:
        result = await obstore.get_async(store, path, options=options)  # type: ignore[arg-type]  # a TypedDict
    except NotSupportedError:
        if byte_range.suffix is None:
            raise
        result = None
    if result is None:  # Azure has no suffix ranges: ask for the size first
        size = int((await obstore.head_async(store, path))["size"])
        return await get(store, path, ByteRange(max(0, size - (byte_range.suffix or 0)), size), tag, most)
    meta = result.meta
    if tag is not None and meta["e_tag"] != tag:
        raise ReplacedObjectError(path)
    size, (first, stop) = int(meta["size"]), result.range
    if (first, stop) != byte_range.within(size):  # before the bytes are received, which may be any number
        raise OtherBytesError(f"{first}..{stop} of {size}")
    if most is not None and stop - first > most:
        raise CorruptDataError(f"must have at most {most:,} bytes, got {stop - first:,}: damaged.")
    data: Any = bytearray() if stop - first > _LARGE else await result.bytes_async()
    if stop - first > _LARGE:
        async for part in result.stream(min_chunk_size=_LARGE // 8):
            data += part
    if len(data) != stop - first:
        raise TruncatedResponseError(f"{len(data)} bytes instead of {stop - first}")
    return Response(data, size, meta["e_tag"])
