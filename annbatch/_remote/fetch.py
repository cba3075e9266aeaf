"""One answer of an object store, however many attempts it takes."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import RemoteError
from .faults import MISSING, ReplacedObjectError, TruncatedAnswerError, fault_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from obstore.store import ObjectStore

T = TypeVar("T")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
"""Seconds. A pause is drawn from 0 to the bound, which doubles from the first to the longest ("full jitter": clients
that failed together do not come back together, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""

_SLOWEST = 1e6
"""Bytes a second that a link must carry at least for large objects to be written: a shard of 500 MB takes 8 minutes
then, and obstore gives up by itself on a part of one that takes 30 s."""

_jitter = random.Random()  # one of its own: drawing from the global one would change a user's seeded numbers


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait for an object store.

    Attributes
    ----------
    timeout
        Seconds that one attempt may take.
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
        """Return the policy for an object of so many bytes that goes as a whole."""
        more = nbytes / _SLOWEST
        return RetryPolicy(self.timeout + more, self.deadline + more)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Which bytes of an object: ``start`` to ``stop``, the last ``suffix``, or all where both are None."""

    start: int | None = None
    stop: int | None = None
    suffix: int | None = None

    @property
    def length(self) -> int | None:
        """Bytes; None for all, however many they are."""
        return self.suffix if self.start is None or self.stop is None else self.stop - self.start

    def __str__(self) -> str:
        if self.suffix is not None:
            return f"the last {self.suffix} bytes"
        return "all bytes" if self.stop is None else f"bytes {self.start}..{self.stop - 1}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes of an object, and what the store says of the object.

    Attributes
    ----------
    data
        Supports the buffer protocol.
    size
        Bytes of the whole object.
    tag
        Its entity tag, which changes with its content; None where the store gives none.
    """

    data: Any
    size: int
    tag: str | None


async def retry(attempt: Callable[[], Awaitable[T]], what: Callable[[], str], policy: RetryPolicy) -> T:
    """Return what ``attempt`` returns, after as many attempts as it takes within the deadline.

    Parameters
    ----------
    attempt
        Makes one request.
    what
        Returns what is asked for, for the error.
    policy
        How long.

    Raises
    ------
    FileNotFoundError
        If there is no such object.
    annbatch.errors.RemoteError
        If it was refused, or not answered within the deadline.
    """
    begin, attempts, bound = time.monotonic(), 0, _FIRST_PAUSE
    while True:
        left = policy.deadline - (time.monotonic() - begin)
        attempts += 1
        try:
            async with asyncio.timeout(min(policy.timeout, left)):
                return await attempt()
        except ReplacedObjectError:
            raise
        except Exception as error:
            fault = fault_of(error)
        # Raised outside of the handler: what was caught there quotes the URL, and would be shown as the context.
        if fault is MISSING:
            raise FileNotFoundError(f"{what()} could not be had: {fault.reason}.")
        if not fault.transient:
            raise RemoteError(f"{what()} could not be had: {fault.reason}.")
        pause = _jitter.uniform(0, bound)
        if time.monotonic() - begin + pause >= policy.deadline:
            raise RemoteError(
                f"{what()} could not be had within the deadline of {policy.deadline:g} s, in {attempts} "
                f"attempt{'s' if attempts > 1 else ''}: in the last, {fault.reason}."
            )
        await asyncio.sleep(pause)
        bound = min(2 * bound, _LONGEST_PAUSE)


async def get(store: ObjectStore, path: str, wanted: ByteRange, tag: str | None) -> Answer:
    """Make one attempt at getting bytes of an object.

    Raises
    ------
    TruncatedAnswerError
        If fewer bytes came than were asked for and than there are.
    ReplacedObjectError
        If the object's tag is not ``tag``, unless that is None.
    """
    import obstore
    from obstore.exceptions import NotSupportedError

    options: dict[str, Any] = {}
    if wanted.suffix is not None:
        options["range"] = {"suffix": wanted.suffix}
    elif wanted.start is not None and wanted.stop is not None:
        options["range"] = (wanted.start, wanted.stop)
    try:
        result = await obstore.get_async(store, path, options=options)  # type: ignore[arg-type]  # a TypedDict
    except NotSupportedError:
        if wanted.suffix is None:
            raise
        result = None
    if result is None:  # Azure has no such ranges: the size is asked for first
        size = int((await obstore.head_async(store, path))["size"])
        return await get(store, path, ByteRange(max(0, size - (wanted.suffix or 0)), size), tag)
    meta = result.meta
    if tag is not None and meta["e_tag"] != tag:
        raise ReplacedObjectError(path)
    data = await result.bytes_async()
    first, stop = result.range
    if len(data) != stop - first:
        raise TruncatedAnswerError(f"{len(data)} bytes instead of {stop - first}")
    return Answer(data, int(meta["size"]), meta["e_tag"])
