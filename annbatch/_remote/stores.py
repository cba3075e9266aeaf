"""Zarr nodes in object stores, seen through stores of the loader's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._sizes import parse_size
from .cache import ChunkCache

if TYPE_CHECKING:
    import os

    from .store import RemoteStore


class RemoteStores:
    """The object stores that one loader reads from: counted, and cancelled, with it.

    Parameters
    ----------
    cache_dir, cache_size
        Where chunks are kept, and how many bytes of them; None for what each store has.
    """

    def __init__(self, *, cache_dir: str | os.PathLike[str] | None, cache_size: int | str) -> None:
        most_bytes = parse_size(cache_size, name="cache_size")
        self._cache = None if cache_dir is None else ChunkCache(cache_dir, most_bytes)
        self._stores: list[tuple[Any, RemoteStore]] = []

    def rebind(self, node: Any) -> Any:
        """Return a zarr group or array in an object store as one over a store of the loader's own; others as they are.

        Parameters
        ----------
        node
            Anything.
        """
        import zarr
        from zarr.storage import ObjectStore

        if isinstance(node, zarr.Group | zarr.Array) and isinstance(node.store, ObjectStore):
            return over(node, self._store(node.store))
        inner = getattr(node, "group", None)  # anndata's wrapper of a sparse matrix
        if isinstance(inner, zarr.Group) and isinstance(inner.store, ObjectStore):
            return over(inner, self._store(inner.store))
        return node

    def cancel(self) -> None:
        """Drop the requests that are under way."""
        for _, store in self._stores:
            store.cancel()

    @property
    def sent(self) -> int:
        """Requests that were made, further attempts included."""
        return sum(store.sent for _, store in self._stores)

    @property
    def received(self) -> int:
        """Bytes that came."""
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


def over(node: Any, store: RemoteStore) -> Any:
    """Return a zarr group or array as one over another store of the same objects; nothing is read."""
    import zarr
    from zarr.core.group import AsyncGroup
    from zarr.storage import StorePath

    place = StorePath(store, node.path)
    if isinstance(node, zarr.Array):
        given = node.async_array
        return zarr.Array(type(given)(given.metadata, place, given.config))
    return zarr.Group(AsyncGroup(node.metadata, place))
