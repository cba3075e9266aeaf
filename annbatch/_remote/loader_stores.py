"""The object stores that one loader reads from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._sizes import parse_size
from .cache import ChunkCache

if TYPE_CHECKING:
    import os

    import zarr

    from .store import RemoteStore


class RemoteStores:
    """Object stores whose requests are counted and cancelled with one loader.

    Parameters
    ----------
    cache_dir, cache_size
        Folder and bytes of the chunk cache; without a folder, each store keeps its own cache.
    """

    def __init__(self, *, cache_dir: str | os.PathLike[str] | None, cache_size: int | str) -> None:
        max_bytes = parse_size(cache_size, name="cache_size")
        self._cache = None if cache_dir is None else ChunkCache(cache_dir, max_bytes)
        self._stores: list[tuple[Any, RemoteStore]] = []

    def rebind(self, node: Any) -> Any:
        """Return a zarr group or array in an object store, bound to the loader's own store; anything else unchanged."""
        import zarr
        from zarr.storage import ObjectStore

        if isinstance(node, zarr.Group | zarr.Array) and isinstance(node.store, ObjectStore):
            return _bound(node, self._store(node.store))
        inner = getattr(node, "group", None)  # anndata's wrapper of a sparse matrix
        if isinstance(inner, zarr.Group) and isinstance(inner.store, ObjectStore):
            return _bound(inner, self._store(inner.store))
        return node

    def cancel(self) -> None:
        """Cancel the requests that are under way."""
        for _, store in self._stores:
            store.cancel()

    @property
    def sent(self) -> int:
        """Requests that were sent, retries included."""
        return sum(store.sent for _, store in self._stores)

    @property
    def received(self) -> int:
        """Bytes that were received."""
        return sum(store.received for _, store in self._stores)

    def _store(self, given: Any) -> RemoteStore:
        from .store import RemoteStore

        for known, store in self._stores:
            if known is given:
                return store
        own = given.with_read_only(True) if isinstance(given, RemoteStore) else RemoteStore(given, read_only=True)
        own.cache = self._cache or own.cache
        self._stores.append((given, own))
        return own


def in_remote_store(group: zarr.Group) -> zarr.Group:
    """Return a group in a :class:`RemoteStore` if it is in zarr's ``ObjectStore``, whose errors show credentials."""
    from zarr.storage import ObjectStore

    from .store import RemoteStore

    store = group.store
    if not isinstance(store, ObjectStore) or isinstance(store, RemoteStore):
        return group
    bound: zarr.Group = _bound(group, RemoteStore(store, read_only=store.read_only))
    return bound


def _bound(node: Any, store: RemoteStore) -> Any:
    """Return a zarr group or array, bound to another store of the same objects; nothing is read."""
    import zarr
    from zarr.core.group import AsyncGroup
    from zarr.storage import StorePath

    path = StorePath(store, node.path)
    if isinstance(node, zarr.Array):
        given = node.async_array
        return zarr.Array(type(given)(given.metadata, path, given.config))
    return zarr.Group(AsyncGroup(node.metadata, path))
