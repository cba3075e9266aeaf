"""Files of metadata, and the folders that hold them: read within bounds, as anybody may have written them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import RangeByteRequest, SuffixByteRequest
from zarr.core.group import AsyncGroup
from zarr.storage import LocalStore as _LocalStore
from zarr.storage import StorePath

from ..errors import CorruptDataError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

MOST_BYTES = 32 << 20
"""Bytes of a file of metadata: JSON takes up to 20 times as much memory, and 300,000 files have room for checksums."""

BELIEVED_BYTES = 256 << 20
"""Memory that metadata may ask for, whatever is stored: below, nothing is looked up."""

MOST_SHRUNK = 4096
"""Bytes beyond that, per byte stored: constant columns in chunks of 64,000 rows shrink to a 4,000th."""

METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")
"""Names of files of metadata."""


def check_metadata(path: os.PathLike[str], size: int) -> None:
    """Raise :class:`CorruptDataError` if a file of metadata is too large to be one."""
    if size > MOST_BYTES:
        raise CorruptDataError(f"{path} must have at most {MOST_BYTES:,} bytes, as metadata have, got {size:,}.")


def check_file(path: Path, n_bytes: int | None = None) -> None:
    """Raise :class:`CorruptDataError` if a file is too large to be read, as metadata or as holes, or is a device.

    Parameters
    ----------
    path
        Path of the file; nothing is raised if there is none.
    n_bytes
        Bytes to read of it; None for all.
    """
    try:
        stat = path.stat()
    except (OSError, ValueError):  # told by whoever reads it
        return
    if not (S_ISREG(stat.st_mode) or S_ISDIR(stat.st_mode)):  # reading a pipe would wait, a device never ends
        raise CorruptDataError(f"{path} is not a regular file.")
    if path.name in METADATA:
        check_metadata(path, stat.st_size)
    stored = 512 * getattr(stat, "st_blocks", stat.st_size)
    wanted = stat.st_size if n_bytes is None else min(n_bytes, stat.st_size)
    if wanted > max(BELIEVED_BYTES, MOST_SHRUNK * stored):
        raise CorruptDataError(
            f"{path} must have a byte stored for every {MOST_SHRUNK:,} bytes of its size, got {stored:,} of "
            f"{stat.st_size:,}: damaged."
        )


def read_metadata(path: Path) -> bytes:
    """Return the bytes of a file of metadata.

    Raises
    ------
    CorruptDataError
        If it is too large to be one.
    """
    check_file(path)
    with open(path, "rb") as file:
        check_metadata(path, os.fstat(file.fileno()).st_size)
        return file.read()


def parse_json(data: bytes) -> Any:
    """Return the content of JSON; raise ``ValueError`` also where it is nested too deeply for Python."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def _length(part: ByteRequest | None) -> int | None:
    """Return the bytes of a part of a file; None for all that there are."""
    if isinstance(part, RangeByteRequest):
        return part.end - part.start
    return part.suffix if isinstance(part, SuffixByteRequest) else None


class LocalStore(_LocalStore):
    """A local folder, whose files are looked at before memory is taken for them; zarrs knows stores by their name."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file, or a part of it."""
        check_file(self.root / key, _length(byte_range))
        return await super().get(key, prototype, byte_range)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return a file, or a part of it."""
        check_file(self.root / key, _length(byte_range))
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)


def bounded_reads(node: Any) -> Any:
    """Return a zarr group or array of a local folder that reads through :class:`LocalStore`; others unchanged.

    It stays in the same folder when the working directory changes.
    """
    if not isinstance(node, zarr.Group | zarr.Array) or type(node.store) not in (_LocalStore, LocalStore):
        return node
    store: Any = node.store
    if type(store) is LocalStore and store.root.is_absolute():
        return node
    return bound(node, LocalStore(store.root.absolute(), read_only=store.read_only))


def anchor(nodes: Iterable[Any]) -> None:
    """Let zarr groups and arrays stay in the folders that their relative paths name now; other objects are ignored.

    Their stores are changed: the objects that anndata reads lazily share one.

    Raises
    ------
    StoreError
        If there are other arrays by now, as the working directory has changed since they were opened.
    """
    relative = [node for node in nodes if is_relative(node)]
    for node in relative:
        for array in [node] if isinstance(node, zarr.Array) else [array for _, array in node.arrays()]:
            _check_same(array)
    for node in relative:
        node.store.root = node.store.root.absolute()


def is_relative(node: Any) -> bool:
    """Return whether an object is a zarr group or array of a local folder that was opened by a relative path."""
    if not isinstance(node, zarr.Group | zarr.Array) or not isinstance(node.store, _LocalStore):
        return False
    return not node.store.root.is_absolute()


def _check_same(array: Any) -> None:
    folder = array.store.root.absolute()
    try:
        now: Any = zarr.open_array(LocalStore(folder, read_only=True), path=array.path, mode="r")
    except FileNotFoundError:
        now = None
    if now is None or (now.shape, now.dtype, now.chunks) != (array.shape, array.dtype, array.chunks):
        got = "none" if now is None else f"another of shape {now.shape} and dtype {now.dtype}"
        raise StoreError(
            f"`{array.path}` of {array.store.root} must be the array of shape {array.shape} and dtype {array.dtype} "
            f"that was opened, got {got} in {folder}: open the store by its absolute path."
        )


def bound(node: Any, store: Any) -> Any:
    """Return a zarr group or array, bound to another store of the same objects; nothing is read."""
    path = StorePath(store, node.path)
    if isinstance(node, zarr.Array):
        given = node.async_array
        return zarr.Array(type(given)(given.metadata, path, given.config))
    return zarr.Group(AsyncGroup(node.metadata, path))
