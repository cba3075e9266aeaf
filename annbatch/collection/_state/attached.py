"""Stores that a collection refers to instead of holding rows itself: named in one file, and recognized when opened.

This file alone may name what lies outside of the collection's folder: its user attached it.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import google_crc32c

from ..._format.metadata_files import check_metadata, parse_json
from ..._remote.urls import is_url
from ...errors import CorruptDataError, RemoteError, StoreError
from .files import open_regular
from .manifest import replace_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._inputs.columns import Group

ATTACHED = "attached.json"
"""File in the collection's folder that names the stores."""

NEW_ATTACHED = f".{ATTACHED}.new"
"""File that :func:`~annbatch.collection._state.manifest.replace_json` writes before it replaces that one."""

FORMAT, VERSION = "annbatch.attached", 1


@dataclass(frozen=True, slots=True)
class Reference:
    """One store that is attached to a collection.

    Attributes
    ----------
    place
        Absolute path of an h5ad file or of a zarr store, or a URL.
    group
        Path of the AnnData within it; empty for the root.
    identity
        Size in bytes, number of files and time of the last change; of a URL, checksum of the group's metadata.
    """

    place: str
    group: str
    identity: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.group).parts
        right = is_url(self.place) or Path(self.place).is_absolute()
        right &= "\0" not in self.place + self.group and ".." not in parts and "/" not in parts
        if not right or not all(isinstance(number, int) for number in self.identity):
            raise ValueError(f"a store must have an absolute path or a URL, and a path within it, got {self}")

    def __str__(self) -> str:
        return f"{self.place}/{self.group}".rstrip("/")

    def recorded(self) -> Reference:
        """Return the reference with the present identity of the store."""
        return Reference(self.place, self.group, self._identity(self._opened()))

    def open(self) -> Group:
        """Open the store, for reading.

        Raises
        ------
        StoreError
            If it is missing, or has changed since it was attached.
        """
        try:
            group = self._opened()
            identity = self._identity(group)
        except FileNotFoundError as error:
            raise StoreError(f"{self} is attached to a collection, and is missing: {error}") from error
        except StoreError:
            raise
        except (OSError, ValueError) as error:  # of the system, or obstore's of a URL
            raise StoreError(f"{self} is attached to a collection, and cannot be opened: {error}") from error
        if identity != self.identity:
            raise StoreError(
                f"{self} has changed since it was attached to a collection: remove {ATTACHED} in the collection, and "
                "attach the stores again."
            )
        return group

    def _opened(self) -> Group:
        from .._inputs.open import open_store

        return open_store(self.place, within=self.group)

    def _identity(self, group: Group) -> tuple[int, ...]:
        if is_url(self.place):
            metadata: Any = group.metadata  # with those of everything below, where they are consolidated
            described = json.dumps(metadata.to_dict(), default=str, sort_keys=True)
            return (int(google_crc32c.value(described.encode())),)
        path = Path(self.place)
        if not path.is_file():
            path /= self.group
        stats = [file.stat() for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()]
        return sum(stat.st_size for stat in stats), len(stats), max((stat.st_mtime_ns for stat in stats), default=0)


def read_references(folder: Path) -> list[Reference]:
    """Return the stores that are attached to the collection in a folder; none if there is no file of references.

    Raises
    ------
    CorruptDataError
        If the file is not of the form that :func:`write_references` writes.
    """
    path = folder / ATTACHED
    try:
        with open(path, "rb", opener=open_regular) as file:
            check_metadata(path, os.fstat(file.fileno()).st_size)
            content = parse_json(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as error:
        raise CorruptDataError(f"{path} must name the stores of a collection, got no JSON: {error}") from error
    except CorruptDataError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    try:
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"must be of format {FORMAT!r}, version {VERSION}")
        stores = content["stores"]
        if content["crc32c"] != _checksum(stores):
            raise ValueError("its checksum does not match")
        found = [Reference(str(one["place"]), str(one["group"]), tuple(one["identity"])) for one in stores]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptDataError(f"{path} is damaged, or was not written by annbatch: {error}") from error
    return found


def write_references(folder: Path, references: Sequence[Reference]) -> None:
    """Write the file of references, in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    stores = [asdict(one) | {"identity": list(one.identity)} for one in references]
    content = {"format": FORMAT, "version": VERSION, "stores": stores, "crc32c": _checksum(stores)}
    replace_json(folder / ATTACHED, content)


def _checksum(stores: Any) -> int:
    return int(google_crc32c.value(json.dumps(stores, sort_keys=True).encode()))


def problem_of(reference: Reference) -> str | None:
    """Return what keeps a store from being opened, or None; an object store that does not answer is an error."""
    try:
        reference.open()
    except RemoteError:
        raise
    except StoreError as error:
        return str(error)
    return None
