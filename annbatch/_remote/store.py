"""An object store as a zarr store: patient, counted, and silent about its credentials."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import ObjectStore

from .._sizes import parse_size
from ..errors import RemoteError
from .cache import ChunkCache
from .fetch import Answer, ByteRange, RetryPolicy, get, retry
from .requests import ObjectRange, Request, Requests
from .shard_indexes import ShardIndexes
from .urls import open_object_store, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence

    from obstore.store import ObjectStore as Upstream
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

T = TypeVar("T")

TIMEOUT = 20.0
"""Seconds that an attempt may take. As no more than ``REQUEST_BYTES`` are under way, a link of 3.4 MB/s is enough."""

DEADLINE = 120.0
"""Seconds after which an error is raised; services that were restarted are back by then."""

REQUESTS = 64
"""Requests under way at a time. At 20 ms to the first byte, 64 of 128 KB fill a link of 400 MB/s."""

REQUEST_BYTES = 64 << 20
"""Bytes of answers under way or not yet decoded, beside the windows that ``prefetch`` bounds."""


CACHE_SIZE = "20GB"
"""What a cache may take where nothing else is said: less than what laptops and nodes have free."""


class RemoteStore(ObjectStore[Any]):
    """Objects in S3, GCS or Azure, or on a web server, as a zarr store that waits, tries again, and counts.

    Made for you where a URL is given to :class:`~annbatch.DatasetCollection`; make it yourself to choose its limits.

    Parameters
    ----------
    store
        A URL such as ``"s3://bucket/prefix"``, a store of obstore, or zarr's ``ObjectStore``. Credentials come from
        where obstore finds them: the environment, the machine's role, or the arguments of its stores.
    read_only
        Whether writing is refused.
    timeout
        Seconds that one attempt at a request may take.
    deadline
        Seconds after which a request that failed is not tried again.
    requests
        How many requests may be under way.
    request_bytes
        How many bytes of answers may be under way or not yet decoded.
    cache_dir
        Folder in which chunks are kept that were read; processes may share it. None: nothing is kept.
    cache_size
        Bytes (``"20GB"`` or an int) that it may take; chunks of least use go first.

    Raises
    ------
    ValueError
        If the URL is not one of an object store, or a limit is not positive.
    annbatch.errors.MissingDependencyError
        If obstore is not installed.

    Examples
    --------
    >>> from annbatch import RemoteStore
    >>> store = RemoteStore("https://example.com/cells.zarr", deadline=30)
    >>> store
    RemoteStore(https://example.com/cells.zarr)
    """

    def __init__(
        self,
        store: str | Upstream | ObjectStore[Any],
        *,
        read_only: bool = False,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        requests: int = REQUESTS,
        request_bytes: int = REQUEST_BYTES,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int | str = CACHE_SIZE,
    ) -> None:
        for name, value in (("requests", requests), ("request_bytes", request_bytes)):
            if value < 1:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        upstream: Any = open_object_store(store) if isinstance(store, str) else getattr(store, "store", store)
        super().__init__(upstream, read_only=read_only)
        self.url = url_of(upstream)
        self._policy = RetryPolicy(timeout, deadline)
        self._limits = (requests, request_bytes)
        self.cache = None if cache_dir is None else ChunkCache(cache_dir, parse_size(cache_size, name="cache_size"))
        self._begin()

    def _begin(self) -> None:
        """Set up what belongs to a process."""
        self.indexes = ShardIndexes(self.url, self._submit_first)
        self._counting = threading.Lock()
        self._sent = 0
        self._received = 0
        self._requests: Requests | None = None

    def __str__(self) -> str:
        return self.url

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in ("indexes", "_counting", "_requests")}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._begin()

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return this store, read-only or not; with counts of its own."""
        requests, request_bytes = self._limits
        other = type(self)(
            self.store,
            read_only=read_only,
            timeout=self._policy.timeout,
            deadline=self._policy.deadline,
            requests=requests,
            request_bytes=request_bytes,
        )
        other.cache = self.cache
        return other

    # What was done ----------------------------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """Requests that were made, further attempts included."""
        return self._sent

    @property
    def received(self) -> int:
        """Bytes that came."""
        return self._received

    def _count(self, *, sent: int = 0, received: int = 0) -> None:
        with self._counting:
            self._sent += sent
            self._received += received

    # Bulk, for the native reader --------------------------------------------------------------------------------------

    @property
    def requests(self) -> Requests:
        """The requests of the native reader."""
        with self._counting:
            if self._requests is None:
                most, most_bytes = self._limits
                self._requests = Requests(self._answer, most=most, most_bytes=most_bytes)
            return self._requests

    def _submit_first(self, ranges: Sequence[ObjectRange]) -> list[Request]:
        requests = self.requests.submit(ranges)
        self.requests.prioritize(requests)
        return requests

    def cancel(self) -> None:
        """Drop the native reader's requests."""
        if self._requests is not None:
            self._requests.cancel()

    async def _answer(self, wanted: ObjectRange) -> Answer | None:
        try:
            return await retry(partial(self._get, wanted.path, wanted.bytes, wanted.tag), wanted.what, self._policy)
        except FileNotFoundError:
            return None

    async def _get(self, path: str, wanted: ByteRange, tag: str | None) -> Answer:
        self._count(sent=1)
        answer = await get(self.store, path, wanted, tag)
        self._count(received=len(answer.data))
        return answer

    # zarr's own reading and writing -----------------------------------------------------------------------------------

    async def _retry(self, doing: Callable[[], Awaitable[T]], what: str, policy: RetryPolicy | None = None) -> T:
        async def attempt() -> T:
            self._count(sent=1)
            return await doing()

        return await retry(attempt, lambda: what, policy or self._policy)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object's bytes; None if there is none."""
        wanted = await self._wanted(key, byte_range)
        answer = await self._answer(ObjectRange(key, wanted, None, 0, lambda: f"{self._place(key)}, {wanted},"))
        return None if answer is None else prototype.buffer.from_bytes(answer.data)

    async def _wanted(self, key: str, asked: ByteRequest | None) -> ByteRange:
        if isinstance(asked, RangeByteRequest):
            return ByteRange(asked.start, asked.end)
        if isinstance(asked, SuffixByteRequest):
            return ByteRange(suffix=asked.suffix)
        if isinstance(asked, OffsetByteRequest):
            return ByteRange(asked.offset, await self.getsize(key))
        return ByteRange()

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several parts of objects."""
        import asyncio

        return list(await asyncio.gather(*(self.get(key, prototype, asked) for key, asked in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Say whether there is an object."""
        try:
            await self.getsize(key)
        except FileNotFoundError:
            return False
        return True

    async def getsize(self, key: str) -> int:
        """Return the bytes of an object."""
        import obstore

        head = await self._retry(lambda: obstore.head_async(self.store, key), f"The size of {self._place(key)}")
        return int(head["size"])

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object, by replacing it whole."""
        policy = self._policy.for_bytes(len(value))
        await self._retry(partial(super().set, key, value), f"Writing {self._place(key)}", policy)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object unless there is one."""
        await self._retry(partial(super().set_if_not_exists, key, value), f"Writing {self._place(key)}")

    async def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        await self._retry(partial(super().delete, key), f"Removing {self._place(key)}")

    async def delete_dir(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        import obstore

        self._check_writable()
        if keys := [key async for key in self.list_prefix(prefix)]:
            await self._retry(lambda: obstore.delete_async(self.store, keys), f"Removing {self._place(prefix)}")

    @property
    def supports_listing(self) -> bool:
        """Whether the store can say what it holds; web servers cannot."""
        return not self.url.startswith(("http://", "https://"))

    def _require_listing(self, prefix: str) -> None:
        if not self.supports_listing:
            raise RemoteError(
                f"{self._place(prefix)} cannot be listed: web servers do not say what they hold. Name what is wanted, "
                "or have it in an object store."
            )

    def list(self) -> AsyncGenerator[str, None]:
        """Yield all keys."""
        return self.list_prefix("")

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the keys below a prefix."""
        for entry in await self._entries(prefix):
            yield entry["path"]

    async def list_dir(self, prefix: str) -> AsyncGenerator[str, None]:
        """Yield the names directly below a prefix."""
        import obstore

        self._require_listing(prefix)
        below = prefix.rstrip("/")
        found = await self._retry(
            lambda: obstore.list_with_delimiter_async(self.store, prefix=below or None),
            f"The list of what is in {self._place(below)}",
        )
        for path in [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]:
            yield path[len(below) :].strip("/")

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the bytes of all objects below a prefix."""
        return sum(entry["size"] for entry in await self._entries(prefix))

    async def _entries(self, prefix: str) -> Sequence[Any]:
        import obstore

        self._require_listing(prefix)
        below = prefix.rstrip("/")

        async def collect() -> Sequence[Any]:
            return await obstore.list(self.store, prefix=below or None).collect_async()

        return await self._retry(collect, f"The list of what is in {self._place(below)}")

    def _place(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")
