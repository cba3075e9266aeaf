"""The object stores that one loader reads from."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._arguments import in_words
from .._sizes import parse_size
from .cache import ChunkCache

if TYPE_CHECKING:
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
        if not isinstance(cache_dir, str | os.PathLike | None):
            raise TypeError(f"`cache_dir` must be a path or None, got {in_words(cache_dir)}.")
        max_bytes = parse_size(cache_size, name="cache_size")
        self._cache = None if cache_dir is None else ChunkCache(cache_dir, max_bytes)
        self._stores: list[tuple[Any, RemoteStore]] = []

    def rebind(self, node: Any) -> Any:
        """Return a zarr group or array, bound to the loader's own store; anything else unchanged."""
        import zarr
        from zarr.storage import ObjectStore

        from .._format.metadata_files import bound, bounded_reads

        if isinstance(node, zarr.Group | zarr.Array) and isinstance(node.store, ObjectStore):
            return bound(node, self._store(node.store))
        inner = getattr(node, "group", None)  # anndata's wrapper of a sparse matrix
        if isinstance(inner, zarr.Group) and isinstance(inner.store, ObjectStore):
            return bound(inner, self._store(inner.store))
        return bounded_reads(inner if isinstance(inner, zarr.Group) else node)

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

    from .._format.metadata_files import bound
    from .store import RemoteStore

    store = group.store
    if not isinstance(store, ObjectStore) or isinstance(store, RemoteStore):
        return group
    own: zarr.Group = bound(group, RemoteStore(store, read_only=store.read_only))
    return own


def with_checksums(group: zarr.Group, checksums: dict[str, int]) -> zarr.Group:
    """Return a group whose store compares the metadata of the group's members with their CRC-32C, by name, when read.

    Metadata that were consolidated in the group, which no checksum covers, are not used. A group in no
    :class:`RemoteStore` is returned unchanged.
    """
    import zarr
    from zarr.core.group import AsyncGroup
    from zarr.storage import StorePath

    from .store import RemoteStore

    if not checksums or not isinstance(group.store, RemoteStore):
        return group
    store = group.store.with_read_only(group.store.read_only)
    store.stated = {f"{group.path}/{name}".strip("/"): {"zarr.json": (None, crc)} for name, crc in checksums.items()}
    metadata = replace(group.metadata, consolidated_metadata=None)
    return zarr.Group(AsyncGroup(metadata, StorePath(store, group.path)))


def add_checksums(group: zarr.Group, files: dict[str, tuple[int, int]]) -> None:
    """Let the store of a group from :func:`with_checksums` compare files in it, given their sizes and CRC-32C."""
    known = getattr(group.store, "stated", {}).get(group.path)
    if known is not None:
        known.update((str(name), (int(size), int(crc))) for name, (size, crc) in files.items())
