"""Open a zarr group of an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._sizes import size_on_disk
from .urls import is_url, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    import zarr


def open_group(url: str) -> zarr.Group:
    """Return the zarr group at a URL, for reading.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    import zarr

    from .store import RemoteStore

    try:
        return zarr.open_group(RemoteStore(url, read_only=True), mode="r")
    except FileNotFoundError:
        pass
    hint = ": copy h5ad files to a disk first" if without_secrets(url).endswith(".h5ad") else ""
    raise FileNotFoundError(f"{without_secrets(url)} must be a zarr group, and there is none{hint}.")


def size_of(place: str | Path) -> int | None:
    """Return the bytes of a file, of all files under a folder, or of all objects under a URL; None for a web server."""
    if not is_url(place):
        return size_on_disk(place)
    from zarr.core.sync import sync

    from .store import RemoteStore

    store = RemoteStore(str(place), read_only=True)
    return sync(store.getsize_prefix("")) if store.supports_listing else None
