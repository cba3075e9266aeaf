"""The files of a collection, in a local folder or as the objects of a store."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ..._format.checksums import Checksums
from ..._format.metadata_files import check_metadata
from ..._runtime.threads import usable_cores
from ...errors import CorruptDataError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.storage import StorePath

_FILE_READ = 16 << 20  # bytes per read of a file
_OBJECT_READ = 8 << 20  # bytes per request to a store
_OBJECT_READERS = 16  # requests at a time: 128 MB in memory, 20 ms to the first byte of each


def checksum(path: Path, expected: int | None = None) -> tuple[int, Checksums]:
    """Return the size of a file and the checksums of its bytes, which are only read if the size is the expected one."""
    found = Checksums()
    with open(path, "rb", buffering=0, opener=open_regular) as file:
        size = os.fstat(file.fileno()).st_size
        if expected not in (None, size):
            return size, found
        while data := file.read(_FILE_READ):
            found = found.extended(data)
    return size, found


def open_regular(path: str, flags: int) -> int:
    """Open a regular file, for ``open(..., opener=open_regular)``: what a collection names may be a link or a pipe.

    Raises
    ------
    OSError
        If it is anything else; a pipe or a device is not waited for.
    """
    opened = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return opened


class CollectionFiles(Protocol):
    """Files by name, relative to the collection. Safe to read on several threads."""

    @property
    def n_readers(self) -> int:
        """Number of files to read at a time."""

    def entries(self) -> list[str]:
        """Return the names of the files and folders in the collection."""

    def files(self, below: str) -> list[str]:
        """Return the names of all files in a folder, at any depth, relative to it."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of metadata."""

    def checksum(self, name: str, size: int) -> tuple[int, Checksums]:
        """Return the size of a file, expected to be ``size``, and the checksums of its bytes."""


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Files in a local folder."""

    folder: Path
    n_readers: int = usable_cores()

    def entries(self) -> list[str]:
        """Return the names of the files and folders in the collection."""
        return sorted(entry.name for entry in os.scandir(self.folder))

    def files(self, below: str) -> list[str]:
        """Return the names of all files in a folder, at any depth, relative to it."""
        folder = self.folder / below
        found = (Path(base, name) for base, _, names in os.walk(folder) for name in names)
        return [path.relative_to(folder).as_posix() for path in found]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file of metadata."""
        path = self.folder / name
        try:
            with open(path, "rb", opener=open_regular) as file:
                check_metadata(path, os.fstat(file.fileno()).st_size)
                return file.read()
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ELOOP):
                raise CorruptDataError(f"{path} is not a regular file.") from error
            raise

    def checksum(self, name: str, size: int) -> tuple[int, Checksums]:
        """Return the size of a file, expected to be ``size``, and the checksums of its bytes."""
        return checksum(self.folder / name, size)


def directly_below(path: StorePath) -> list[str]:
    """Return the names of the files and folders directly below a path of a store."""

    async def listed() -> list[str]:
        return sorted([name async for name in path.store.list_dir(path.path)])

    return sync(listed())


async def _below(path: StorePath) -> list[str]:
    head = f"{path.path}/" if path.path else ""
    return [key.removeprefix(head) async for key in path.store.list_prefix(head)]


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """Objects of a store, below a prefix."""

    path: StorePath
    n_readers: int = _OBJECT_READERS

    def entries(self) -> list[str]:
        """Return the names of the files and folders in the collection; none if the store cannot list them."""
        return directly_below(self.path) if self.path.store.supports_listing else []

    def files(self, below: str) -> list[str]:
        """Return the names of all objects below a prefix, relative to it; none if the store cannot list them."""
        return sync(_below(self.path / below)) if self.path.store.supports_listing else []

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return self._get(name, None)

    def _get(self, name: str, part: ByteRequest | None) -> bytes:
        path = self.path / name
        data = sync(path.store.get(path.path, default_buffer_prototype(), part))
        if data is None:
            raise FileNotFoundError(f"{path} is missing.")
        return data.to_bytes()

    def checksum(self, name: str, size: int) -> tuple[int, Checksums]:
        """Return the size of an object, expected to be ``size``, and the checksums of its bytes."""
        if size <= _OBJECT_READ:
            data = self._get(name, None)
            return len(data), Checksums().extended(data)
        path, found = self.path / name, Checksums()
        size = sync(path.store.getsize(path.path))
        for start in range(0, size, _OBJECT_READ):
            found = found.extended(self._get(name, RangeByteRequest(start, min(start + _OBJECT_READ, size))))
        return size, found
