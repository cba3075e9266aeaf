"""Where a collection lies, and what it says of itself: the root group's attributes.

A collection is finished when its root has the encoding attributes; they are written last, by replacing one file.
What this project adds stands in one further attribute, ``annbatch``, which a foreign reader ignores.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, StorePath

from ..._remote.urls import SCHEMES, is_url, without_secrets
from ...errors import NotACollectionError
from .files import InFolder, InStore, directly_below
from .manifest import (
    _FRESH,
    ENCODING,
    LOCK,
    OWN,
    UNFINISHED,
    WORK,
    Manifest,
    dataset_number,
    manifest_checksum,
    replace_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zarr.abc.store import Store

    from .files import CollectionFiles


class Location:
    """The place of a collection: a local folder, or a group of any zarr store."""

    def __init__(self, group: zarr.Group | str | os.PathLike[str], mode: Literal["a", "r", "r+"]) -> None:
        self.folder: Path | None = None
        self._shown = ""
        self._group: zarr.Group | None = None
        self._store: Store | None = None
        self._damage: Exception | None = None
        self._mode = mode
        if isinstance(group, zarr.Group):
            self._group = group
            if isinstance(group.store, LocalStore):
                self._shown = str(Path(group.store.root) / group.path)
                self.folder = Path(self._shown).absolute()
        elif is_url(group):
            from ..._remote.store import RemoteStore

            self._store = RemoteStore(str(group), read_only=mode == "r")
            self.refresh()
        elif "://" in str(group):
            raise ValueError(
                f"`group` must be a path, or a URL of {', '.join(SCHEMES)}, got {without_secrets(str(group))!r}."
            )
        else:
            self._shown = str(Path(group))
            self.folder = Path(group).absolute()  # the caller may change the working directory
        if mode != "a" and not self.is_collection:
            raise NotACollectionError(f"{self} must be a finished collection, got {self._what_is_there()}.")

    def __str__(self) -> str:
        if self.folder is not None:
            return self._shown
        return str(self._store if self._group is None else self._group.store_path)

    @property
    def store_path(self) -> StorePath:
        """The place in a store of what is in no local folder."""
        if self._group is not None:
            return self._group.store_path
        assert self._store is not None
        return StorePath(self._store)

    @property
    def stored(self) -> CollectionFiles:
        """The collection's files."""
        return InStore(self.store_path) if self.folder is None else InFolder(self.folder)

    def refresh(self) -> None:
        """Look anew at what is in a store, where another process may have written since."""
        if self.folder is not None:
            return
        place = self.store_path
        mode: Literal["r", "r+"] = "r" if self._mode == "r" else "r+"
        self._damage = None
        try:
            found = zarr.open_group(place.store, path=place.path, mode=mode, zarr_format=3)
        except FileNotFoundError:
            found = None
        except (ValueError, KeyError, TypeError) as error:  # what zarr raises for metadata that are no metadata
            found, self._damage = None, error
        if found is not None and self._group is not None:
            _replace_attributes(self._group, dict(found.attrs))  # the caller's handle sees it too
        elif self._store is not None:
            self._group = found

    @property
    def group(self) -> zarr.Group:
        """The collection's root group, as it is now."""
        if self.folder is not None:
            return zarr.open_group(self.folder, mode="r" if self._mode == "r" else "r+")
        if self._group is None:
            self._group = zarr.create_group(self._store, zarr_format=3)
        return self._group

    @property
    def attributes(self) -> dict[str, Any]:
        """The root attributes; empty where there is no group."""
        if self._damage is not None:
            raise NotACollectionError(f"{self} must be a zarr group, got {self._damage}.") from self._damage
        if self.folder is None:
            return {} if self._group is None else dict(self._group.attrs)
        try:
            return dict(json.loads((self.folder / "zarr.json").read_bytes()).get("attributes", {}))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as error:
            raise NotACollectionError(f"{self} must be a zarr group, got metadata that is no JSON: {error}") from error

    @property
    def is_collection(self) -> bool:
        """Whether there is a finished collection."""
        return self.attributes.items() >= ENCODING.items()

    def _members(self) -> list[str]:
        if self.folder is None:
            return [] if self._group is None else self._members_elsewhere()
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            return [self.folder.name]
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.name not in ("zarr.json", WORK))

    def _members_elsewhere(self) -> list[str]:
        place = self.store_path
        if place.store.supports_listing:
            return [name for name in directly_below(place) if name not in ("zarr.json", LOCK)]
        found: list[str] = []  # a web server: those are found that are numbered without a gap
        while sync((place / f"dataset_{len(found)}" / "zarr.json").exists()):
            found.append(f"dataset_{len(found)}")
        return found

    def _what_is_there(self) -> str:
        members = self._members()
        return f"something else, with {', '.join(members[:5])}" if members else "nothing there"

    def require_room(self) -> None:
        """Raise :class:`NotACollectionError` if something other than a collection, or one half made, is here."""
        half_made = UNFINISHED in self.attributes if self.folder is None else (self.folder / WORK).exists()
        ours = [name for name in self._members() if half_made and (dataset_number(name) is not None or name == _FRESH)]
        if not self.is_collection and len(self._members()) > len(ours):
            raise NotACollectionError(f"{self} must be empty or a finished collection, got {self._what_is_there()}.")

    def manifest(self) -> Manifest:
        """Return what the collection says of itself; for one that another program wrote, what there is to see."""
        manifest = Manifest.from_attributes(self.attributes)
        return Manifest({name: {} for name in self.dataset_names()}, []) if manifest is None else manifest

    def resolve(self, name: str) -> str:
        """Return the name that a dataset has: the one that it is about to be given, or the one that it still has."""
        if self.folder is None or (self.folder / name).exists():
            return name
        known = self.manifest().datasets.get(name, {})
        return str(known.get("was", name))

    def datasets(self) -> list[zarr.Group]:
        """Return the groups of the datasets, in numeric order."""
        names = self.dataset_names()
        if not names:
            return []
        root = self.group
        groups = [root[self.resolve(name)] for name in names]
        return [group for group in groups if isinstance(group, zarr.Group)]

    def dataset_names(self) -> list[str]:
        """Return the names of the datasets, in numeric order."""
        attributes = self.attributes
        if not attributes.items() >= ENCODING.items():
            return []
        manifest = Manifest.from_attributes(attributes)
        names: Iterable[str] = manifest.datasets if manifest is not None else self._members()
        numbered = [(number, name) for name in names if (number := dataset_number(name)) is not None]
        return [name for _, name in sorted(numbered)]

    def claim(self) -> None:
        """Mark a place that is no local folder as one in which a collection is being made."""
        if not self.is_collection:
            self.group.update_attributes({UNFINISHED: True})

    def settle_names(self) -> None:
        """Give datasets the names that the manifest says they have, where a run that was killed did not come to it."""
        manifest = Manifest.from_attributes(self.attributes)
        if manifest is None or not any("was" in known for known in manifest.datasets.values()):
            return
        assert self.folder is not None
        for name, known in manifest.datasets.items():
            if "was" in known and not (self.folder / name).exists():
                (self.folder / known["was"]).rename(self.folder / name)
        datasets = {name: {k: v for k, v in known.items() if k != "was"} for name, known in manifest.datasets.items()}
        self.commit(Manifest(datasets, manifest.history))

    def commit(self, manifest: Manifest) -> None:
        """Make the collection what ``manifest`` says, by one atomic replace where it is local."""
        attributes = self.attributes | ENCODING | {OWN: manifest.to_attribute()}
        attributes.pop(UNFINISHED, None)
        content = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
        attributes[OWN]["crc32c"] = manifest_checksum(content)
        if self.folder is None:
            place = self.store_path / "zarr.json"
            sync(place.set(default_buffer_prototype().buffer.from_bytes(json.dumps(content).encode())))
        else:
            replace_json(self.folder / "zarr.json", content)
        if self._group is not None:
            _replace_attributes(self._group, attributes)  # the caller's handle sees it too


def _replace_attributes(group: zarr.Group, attributes: dict[str, Any]) -> None:
    known = group.metadata.attributes
    known.clear()
    known.update(attributes)
