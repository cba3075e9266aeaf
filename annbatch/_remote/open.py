"""Zarr groups in object stores, by URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._sizes import size_on_disk
from ..errors import reading
from .urls import is_url, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    import zarr


def open_group(url: str) -> zarr.Group:
    """Open the zarr group at a URL, for reading.

    Raises
    ------
    FileNotFoundError
        If there is no zarr group.
    annbatch.errors.CorruptDataError
        If its metadata are damaged.
    """
    import zarr

    from .store import RemoteStore

    store = RemoteStore(url, read_only=True)
    try:
        with reading(store.url):
            return zarr.open_group(store, mode="r")
    except FileNotFoundError:
        pass
    hint = ": copy h5ad files to a disk first" if without_secrets(url).endswith(".h5ad") else ""
    raise FileNotFoundError(f"{without_secrets(url)} is not a zarr group{hint}.")


def size_of(location: str | Path) -> int | None:
    """Return the bytes of a file, of all files in a folder, or of all objects under a URL; None for a web server."""
    if not is_url(location):
        return size_on_disk(location)
    from zarr.core.sync import sync

    from .store import RemoteStore

    store = RemoteStore(str(location), read_only=True)
    return sync(store.getsize_prefix("")) if store.supports_listing else None
