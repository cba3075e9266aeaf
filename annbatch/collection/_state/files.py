"""The files of a collection as they are stored: in a local folder, or as the objects of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import google_crc32c
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from ..._runtime.threads import usable_cores

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.storage import StorePath

_READ_FILE = 16 << 20

_READ = 8 << 20
"""Bytes of an object that are asked for at a time."""

_READERS = 16
"""Objects of a store that are read at a time, each by its turn: 128 MB of them in memory, 20 ms to the first byte."""


def checksum(path: Path) -> tuple[int, int]:
    """Return the size of a file and the CRC-32C of its bytes."""
    crc = size = 0
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ_FILE):
            crc, size = google_crc32c.extend(crc, data), size + len(data)
    return size, crc


class CollectionFiles(Protocol):
    """Files by name, relative to where they all are. Safe to read on several threads."""

    @property
    def n_readers(self) -> int:
        """How many files to read at a time."""

    def entries(self) -> list[str]:
        """Return the names of the files and folders at the top."""

    def files(self, below: str) -> list[str]:
        """Return the names of all files in a folder and its folders, relative to it."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""

    def checksum(self, name: str, size: int) -> tuple[int, int]:
        """Return the size of a file, expected to be ``size``, and the CRC-32C of its bytes."""


@dataclass(frozen=True, slots=True)
class InFolder:
    """Files in a folder."""

    folder: Path
    n_readers: int = usable_cores()

    def entries(self) -> list[str]:
        """Return the names of the files and folders at the top."""
        return sorted(entry.name for entry in os.scandir(self.folder))

    def files(self, below: str) -> list[str]:
        """Return the names of all files in a folder and its folders, relative to it."""
        folder = self.folder / below
        found = (Path(base, name) for base, _, names in os.walk(folder) for name in names)
        return [path.relative_to(folder).as_posix() for path in found]

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.folder / name).read_bytes()

    def checksum(self, name: str, size: int) -> tuple[int, int]:
        """Return the size of a file and the CRC-32C of its bytes."""
        return checksum(self.folder / name)


def directly_below(place: StorePath) -> list[str]:
    """Return the first parts of the names of a store's objects below a place, each once."""

    async def listed() -> list[str]:
        return sorted([name async for name in place.store.list_dir(place.path)])

    return sync(listed())


async def _below(place: StorePath) -> list[str]:
    head = f"{place.path}/" if place.path else ""
    return [key.removeprefix(head) async for key in place.store.list_prefix(head)]


@dataclass(frozen=True, slots=True)
class InStore:
    """Objects of a store below a prefix."""

    place: StorePath
    n_readers: int = _READERS

    def entries(self) -> list[str]:
        """Return the first parts of the objects' names, each once; none where they cannot be listed."""
        return directly_below(self.place) if self.place.store.supports_listing else []

    def files(self, below: str) -> list[str]:
        """Return the names of all objects below a prefix, relative to it; none where they cannot be listed."""
        return sync(_below(self.place / below)) if self.place.store.supports_listing else []

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        return self._get(name, None)

    def _get(self, name: str, part: ByteRequest | None) -> bytes:
        place = self.place / name
        data = sync(place.store.get(place.path, default_buffer_prototype(), part))
        if data is None:
            raise FileNotFoundError(f"{place} is missing.")
        return data.to_bytes()

    def checksum(self, name: str, size: int) -> tuple[int, int]:
        """Return the size of an object, expected to be ``size``, and the CRC-32C of its bytes."""
        if size <= _READ:
            data = self._get(name, None)
            return len(data), int(google_crc32c.value(data))
        place, crc = self.place / name, 0
        size = sync(place.store.getsize(place.path))
        for start in range(0, size, _READ):
            crc = google_crc32c.extend(crc, self._get(name, RangeByteRequest(start, min(start + _READ, size))))
        return size, crc
