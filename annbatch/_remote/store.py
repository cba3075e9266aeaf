"""An object store as a zarr store that retries, counts its requests, and never shows credentials."""

from __future__ import annotations

import os
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar

import google_crc32c
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.storage import ObjectStore

from .._format.metadata_files import METADATA, MOST_BYTES
from .._runtime.fork import fork_safe_lock
from .._sizes import parse_size
from ..errors import CorruptDataError, RemoteError
from .cache import ChunkCache
from .fetch import ByteRange, Response, RetryPolicy, get, retry
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
"""Seconds per attempt. With at most ``REQUEST_BYTES`` under way, a link of 3.4 MB/s is enough."""

DEADLINE = 120.0
"""Seconds until an error is raised; services that restart are back by then."""

REQUESTS = 64
"""Requests under way. At 20 ms to the first byte, 64 of 128 KB fill a link of 400 MB/s."""

REQUEST_BYTES = 64 << 20
"""Bytes of responses under way or not yet decoded, in addition to the windows that ``prefetch`` bounds."""

_CHANGED = "It was damaged, or changed since its collection was opened: open it again."

CACHE_SIZE = "20GB"
"""Default size of a cache: less than laptops and nodes have free."""


class RemoteStore(ObjectStore[Any]):
    """Objects in S3, GCS or Azure, or on a web server, as a zarr store with retries, limits and counts.

    :class:`~annbatch.DatasetCollection` makes one for a URL; make your own to choose its limits.

    Parameters
    ----------
    store
        A URL such as ``"s3://bucket/prefix"``, an obstore store, or zarr's ``ObjectStore``. obstore finds the
        credentials: in the environment, the machine's role, or the arguments of its stores.
    read_only
        Whether to refuse writing.
    timeout
        Seconds per attempt at a request.
    deadline
        Seconds after which a failed request is not retried.
    requests
        Most requests under way.
    request_bytes
        Most bytes of responses under way or not yet decoded.
    cache_dir
        Folder that keeps chunks once they are read; processes may share it. None for no cache.
    cache_size
        Most bytes in the folder (``"20GB"`` or an int); chunks that were not opened for longest are evicted first.

    Raises
    ------
    ValueError
        If the URL does not name an object store, or a limit is not positive.
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
        self.stated: dict[str, dict[str, tuple[int | None, int]]] = {}
        """Size, if known, and CRC-32C of objects, compared when they are read whole: by folder, and by name in it."""
        self._set_up()

    def _set_up(self) -> None:
        """Set up the state that belongs to a process."""
        self.indexes = ShardIndexes(self.url, self._submit_first)
        self._counting = fork_safe_lock()
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
        self._set_up()

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return this store, read-only or not, with its own counts."""
        requests, request_bytes = self._limits
        other = type(self)(
            self.store,
            read_only=read_only,
            timeout=self._policy.timeout,
            deadline=self._policy.deadline,
            requests=requests,
            request_bytes=request_bytes,
        )
        other.cache, other.stated = self.cache, self.stated
        return other

    # Counts -----------------------------------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """Requests that were sent, retries included."""
        return self._sent

    @property
    def received(self) -> int:
        """Bytes that were received."""
        return self._received

    def _count(self, *, sent: int = 0, received: int = 0) -> None:
        with self._counting:
            self._sent += sent
            self._received += received

    # Bulk reads, for the native reader --------------------------------------------------------------------------------

    @property
    def requests(self) -> Requests:
        """The requests of the native reader."""
        with self._counting:
            if self._requests is None:
                max_requests, max_bytes = self._limits
                self._requests = Requests(self._fetch, max_requests=max_requests, max_bytes=max_bytes)
            return self._requests

    def _submit_first(self, ranges: Sequence[ObjectRange]) -> list[Request]:
        requests = self.requests.submit(ranges)
        self.requests.prioritize(requests)
        return requests

    def cancel(self) -> None:
        """Cancel the requests of the native reader."""
        if self._requests is not None:
            self._requests.cancel()

    async def _fetch(self, requested: ObjectRange) -> Response | None:
        stated = self._stated_for(requested.path) if requested.bytes == ByteRange() else None
        most = requested.most if stated is None or stated[0] is None else stated[0]
        attempt = partial(self._get, requested.path, requested.bytes, requested.tag, most)
        try:
            response = await retry(attempt, requested.what, self._policy)
        except FileNotFoundError:
            response = None
        if stated is not None and response is None:
            raise CorruptDataError(f"{requested.what()} failed: the object is missing. {_CHANGED}")
        if stated is not None and response is not None and google_crc32c.value(bytes(response.data)) != stated[1]:
            raise CorruptDataError(f"{requested.what()} failed: the checksum does not match. {_CHANGED}")
        return response

    def _stated_for(self, key: str) -> tuple[int | None, int] | None:
        """Return size and checksum that the object's collection records; None for neither."""
        path = PurePosixPath(key)
        found = (self.stated.get(str(folder), {}).get(str(path.relative_to(folder))) for folder in path.parents)
        return next((one for one in found if one is not None), None) if self.stated else None

    async def _get(self, path: str, byte_range: ByteRange, tag: str | None, most: int | None) -> Response:
        self._count(sent=1)
        response = await get(self.store, path, byte_range, tag, most)
        self._count(received=len(response.data))
        return response

    # zarr's interface -------------------------------------------------------------------------------------------------

    async def _retry(self, request: Callable[[], Awaitable[T]], what: str, policy: RetryPolicy | None = None) -> T:
        async def attempt() -> T:
            self._count(sent=1)
            return await request()

        return await retry(attempt, lambda: what, policy or self._policy)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object's bytes; None if there is no such object."""
        part = await self._part(key, byte_range)
        what = partial("Reading {} of {}".format, part, self._name(key))
        most = MOST_BYTES if PurePosixPath(key).name in METADATA else None
        response = await self._fetch(ObjectRange(key, part, None, 0, what, most))
        return None if response is None else prototype.buffer.from_bytes(response.data)

    async def _part(self, key: str, request: ByteRequest | None) -> ByteRange:
        if isinstance(request, RangeByteRequest):
            return ByteRange(request.start, request.end)
        if isinstance(request, SuffixByteRequest):
            return ByteRange(suffix=request.suffix)
        if isinstance(request, OffsetByteRequest):
            return ByteRange(request.offset, await self.getsize(key))
        return ByteRange()

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return the bytes of several parts of objects."""
        import asyncio

        return list(await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges)))

    async def exists(self, key: str) -> bool:
        """Return whether there is such an object."""
        try:
            await self.getsize(key)
        except FileNotFoundError:
            return False
        return True

    async def getsize(self, key: str) -> int:
        """Return the size of an object, in bytes."""
        import obstore

        head = await self._retry(lambda: obstore.head_async(self.store, key), f"Reading the size of {self._name(key)}")
        return int(head["size"])

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object; replace it if there is one."""
        policy = self._policy.for_bytes(len(value))
        await self._retry(partial(super().set, key, value), f"Writing {self._name(key)}", policy)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object, unless there is one already."""
        await self._retry(partial(super().set_if_not_exists, key, value), f"Writing {self._name(key)}")

    async def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        await self._retry(partial(super().delete, key), f"Deleting {self._name(key)}")

    async def delete_dir(self, prefix: str) -> None:
        """Delete all objects below a prefix."""
        import obstore

        self._check_writable()
        if keys := [key async for key in self.list_prefix(prefix)]:
            await self._retry(lambda: obstore.delete_async(self.store, keys), f"Deleting {self._name(prefix)}")

    @property
    def supports_listing(self) -> bool:
        """Whether the store can list its objects; web servers cannot."""
        return not self.url.startswith(("http://", "https://"))

    def _require_listing(self, prefix: str) -> None:
        if not self.supports_listing:
            raise RemoteError(
                f"{self._name(prefix)} cannot be listed: web servers have no listings. Name what to read, or use an "
                "object store."
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
            f"Listing {self._name(below)}",
        )
        for path in [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]:
            yield path[len(below) :].strip("/")

    async def getsize_prefix(self, prefix: str) -> int:
        """Return the size of all objects below a prefix, in bytes."""
        return sum(entry["size"] for entry in await self._entries(prefix))

    async def _entries(self, prefix: str) -> Sequence[Any]:
        import obstore

        self._require_listing(prefix)
        below = prefix.rstrip("/")

        async def collect() -> Sequence[Any]:
            return await obstore.list(self.store, prefix=below or None).collect_async()

        return await self._retry(collect, f"Listing {self._name(below)}")

    def _name(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")
