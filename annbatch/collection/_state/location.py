"""The location of a collection, and its root metadata.

A collection is finished when its root has the encoding attributes. They are written last, by replacing one file. What
this package adds is in one more attribute, ``annbatch``, which other readers ignore.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import zarr
from google_crc32c import value
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, StorePath

from ..._arguments import wrong_kind
from ..._format.attributes import refuse_unfinished
from ..._format.metadata_files import LocalStore as BoundedStore
from ..._format.metadata_files import parse_json, read_metadata
from ..._remote.loader_stores import add_checksums, in_remote_store, with_checksums
from ..._remote.urls import is_url, refuse_other_urls, without_secrets
from ...errors import CorruptDataError, MissingCollectionError, NotACollectionError, StoreError, reading
from .attached import NEW_ATTACHED, read_references
from .files import LocalFiles, StoreFiles, directly_below
from .manifest import (
    ATTRIBUTE,
    ENCODING,
    LOCK,
    NEW_ROOT,
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

    from .attached import Reference
    from .files import CollectionFiles


_OF_DAMAGE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What zarr raises of damaged metadata."""

_MOST_FOUND = 1000
"""Datasets that are looked for one by one, at 20 GB each."""

_NOT_AS_WRITTEN = "does not match its checksum: it was damaged, or changed by another program."


class Location:
    """Location of a collection: a local folder, or a group of any zarr store."""

    def __init__(self, group: zarr.Group | str | os.PathLike[str], mode: Literal["a", "r", "r+"]) -> None:
        self.folder: Path | None = None
        self._shown = ""
        self._group: zarr.Group | None = None
        self._store: Store | None = None
        self._damage: Exception | None = None
        self._known: tuple[bytes, dict[str, Any]] = (b"", {})  # the root metadata as last read, and parsed
        self._checked: Any = None  # the manifest in them whose checksum matches
        self._mode = mode
        if isinstance(group, zarr.Group):
            self._group = in_remote_store(group)
            if isinstance(group.store, LocalStore):
                self._shown = str(Path(group.store.root) / group.path)
                self.folder = Path(self._shown).absolute()
        elif is_url(group):
            from ..._remote.store import RemoteStore

            self._store = RemoteStore(str(group), read_only=mode == "r")
            self.refresh()
        else:
            refuse_other_urls(group, "group")
            self._shown = str(Path(group))
            self.folder = Path(group).absolute()  # the caller may change the working directory
        if mode != "a" and not self.is_collection:
            self._refuse_damage()
            kind = NotACollectionError if self._members() else MissingCollectionError
            raise kind(f"{self} must be a finished collection, got {self._contents()}.")

    def __str__(self) -> str:
        if self.folder is not None:
            return self._shown
        return without_secrets(self._store if self._group is None else self._group.store_path)

    @property
    def store_path(self) -> StorePath:
        """Path in the store, for a collection in no local folder."""
        if self._group is not None:
            return self._group.store_path
        assert self._store is not None
        return StorePath(self._store)

    @property
    def files(self) -> CollectionFiles:
        """The collection's files."""
        return StoreFiles(self.store_path) if self.folder is None else LocalFiles(self.folder)

    def refresh(self) -> None:
        """Read the root metadata in a store again: another process may have written since."""
        if self.folder is not None:
            return
        path = self.store_path
        mode: Literal["r", "r+"] = "r" if self._mode == "r" else "r+"
        self._damage = None
        try:
            found = zarr.open_group(path.store, path=path.path, mode=mode, zarr_format=3)
        except FileNotFoundError:
            found = None
        except _OF_DAMAGE as error:
            found, self._damage = None, error
        if found is not None and self._group is not None:
            _replace_attributes(self._group, dict(found.attrs))  # the caller's handle sees it too
        elif self._store is not None:
            self._group = found

    @property
    def group(self) -> zarr.Group:
        """The collection's root group, with its present metadata."""
        if self.folder is not None:
            mode: Literal["r", "r+"] = "r" if self._mode == "r" else "r+"
            try:
                store = BoundedStore(self.folder, read_only=mode == "r")
                return zarr.open_group(store, mode=mode, use_consolidated=False)  # no checksum covers those
            except (FileNotFoundError, *_OF_DAMAGE):
                self._refuse_damage()
                raise
        if self._group is None:
            self._group = zarr.create_group(self._store, zarr_format=3)
        return self._group

    @property
    def attributes(self) -> dict[str, Any]:
        """The root attributes; empty if there is no group."""
        if self._damage is not None:
            self._refuse_damage()
            raise NotACollectionError(f"{self} must be a zarr group, got {self._damage}.") from self._damage
        if self.folder is None:
            return {} if self._group is None else dict(self._group.attrs)
        try:
            written = read_metadata(self.folder / "zarr.json")
            if written != self._known[0]:
                self._known = written, _attributes_in(written)
            return dict(self._known[1])
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except ValueError as error:
            self._refuse_damage()
            raise NotACollectionError(f"{self} must be a zarr group, got invalid metadata: {error}") from error

    @property
    def is_collection(self) -> bool:
        """Whether there is a finished collection."""
        return self.attributes.items() >= ENCODING.items() or bool(self.attached)

    @property
    def attached(self) -> list[Reference]:
        """The stores that the collection refers to; none if it holds its datasets itself."""
        if self.folder is None or (self.folder / "zarr.json").exists():
            return []
        return read_references(self.folder)

    def _refuse_damage(self) -> None:
        """Raise if the root metadata are those of a finished collection, but damaged."""
        try:
            written = self.files.read("zarr.json")
        except OSError:
            return
        ours = any(f'"{name}"'.encode() in written for name in ("datasets", ENCODING["encoding-type"]))
        if ours and UNFINISHED.encode() not in written:
            raise CorruptDataError(f"{self}/zarr.json {_NOT_AS_WRITTEN}")

    def _members(self) -> list[str]:
        if self.folder is None:
            return [] if self._group is None else self._members_in_store()
        if not self.folder.exists():
            return []
        if not self.folder.is_dir():
            return [self.folder.name]
        ours = ("zarr.json", WORK, NEW_ATTACHED)
        return sorted(entry.name for entry in os.scandir(self.folder) if entry.name not in ours)

    def _members_in_store(self) -> list[str]:
        path = self.store_path
        if path.store.supports_listing:
            return [name for name in directly_below(path) if name not in ("zarr.json", LOCK, WORK)]
        found: list[str] = []  # web servers cannot list: only datasets that are numbered without a gap are found
        while sync((path / f"dataset_{len(found)}" / "zarr.json").exists()):
            found.append(f"dataset_{len(found)}")
            if len(found) > _MOST_FOUND:
                raise StoreError(
                    f"{self} must have at most {_MOST_FOUND:,} datasets on a web server, unless annbatch wrote it, and "
                    "has more: does the server have an answer to every request?"
                )
        return found

    def _contents(self) -> str:
        members = self._members()
        return f"something else, with {', '.join(members[:5])}" if members else "nothing there"

    def refuse_other_contents(self) -> None:
        """Raise :class:`NotACollectionError` if something other than a collection, or an unfinished one, is here."""
        unfinished = UNFINISHED in self.attributes if self.folder is None else (self.folder / WORK).exists()
        ours = [
            name for name in self._members() if unfinished and (dataset_number(name) is not None or name == NEW_ROOT)
        ]
        if not self.is_collection and len(self._members()) > len(ours):
            raise NotACollectionError(f"{self} must be empty or a finished collection, got {self._contents()}.")

    def manifest(self) -> Manifest:
        """Return the manifest; for a collection that another program wrote, one with the names of its datasets."""
        manifest = self._manifest_in(self.attributes)
        return Manifest({name: {} for name in self.dataset_names()}, []) if manifest is None else manifest

    def _manifest_in(self, attributes: dict[str, Any]) -> Manifest | None:
        content = attributes.get(ATTRIBUTE)
        if isinstance(content, dict) and content is not self._checked:
            # Other programs may have added attributes since.
            own = {name: attributes[name] for name in (*ENCODING, ATTRIBUTE) if name in attributes}
            stated = content.get("crc32c")
            if all(stated != manifest_checksum(_root(some)) for some in (attributes, own)):
                raise CorruptDataError(f"{self}/zarr.json {_NOT_AS_WRITTEN}")
            if self.folder is not None:  # a group's attributes may change in place
                self._checked = content
        with reading(str(self)):
            return Manifest.from_attributes(attributes)

    def datasets(self) -> list[Any]:
        """Return the groups of the datasets, in numeric order."""
        if attached := self.attached:
            return [one.open() for one in attached]
        names = self.dataset_names()
        if not names:
            return []
        known = self.manifest().datasets
        stated = {name: known[name]["metadata_crc32c"] for name in names if "metadata_crc32c" in known[name]}
        found = self.group
        root = with_checksums(found, stated)
        unchecked = stated if root is found else {}  # the store compares, otherwise
        return [self._dataset(root, name, unchecked.get(name)) for name in names]

    def _dataset(self, root: zarr.Group, name: str, stated: int | None) -> zarr.Group:
        with reading(f"`{name}` of {self}"):
            with suppress(FileNotFoundError):
                if stated not in (None, value(self.files.read(f"{name}/zarr.json"))):
                    raise CorruptDataError(f"{self}/{name}/zarr.json {_NOT_AS_WRITTEN}")
            try:
                dataset = root[name]
            except KeyError as error:
                raise CorruptDataError(
                    f"{self} must hold {name}, which its manifest names: missing, or the collection was shuffled again."
                ) from error
            if not isinstance(dataset, zarr.Group):
                raise CorruptDataError(f"{name} of {self} must be a group, got an array.")
            own: Any = dataset.attrs.get(ATTRIBUTE, {})
            add_checksums(dataset, own.get("files", {}))
        refuse_unfinished(dataset)
        return dataset

    def dataset_names(self) -> list[str]:
        """Return the names of the datasets, in numeric order."""
        attributes = self.attributes
        if not attributes.items() >= ENCODING.items():
            if self._checked is not None:  # there was one before
                self._refuse_damage()
            return [f"dataset_{number}" for number in range(len(self.attached))]
        manifest = self._manifest_in(attributes)
        names: Iterable[str] = manifest.datasets if manifest is not None else self._members()
        numbered = [(number, name) for name in names if (number := dataset_number(name)) is not None]
        return [name for _, name in sorted(numbered)]

    def claim(self) -> None:
        """Mark a group in a store as a collection that is being made."""
        if not self.is_collection:
            self.group.update_attributes({UNFINISHED: True})

    def commit(self, manifest: Manifest) -> None:
        """Replace the manifest, and with it the collection; in one atomic step in a local folder."""
        attributes = self.attributes | ENCODING | {ATTRIBUTE: manifest.to_attribute()}
        attributes.pop(UNFINISHED, None)
        content = _root(attributes)
        attributes[ATTRIBUTE]["crc32c"] = manifest_checksum(content)
        if self.folder is None:
            root = self.store_path / "zarr.json"
            sync(root.set(default_buffer_prototype().buffer.from_bytes(json.dumps(content).encode())))
        else:
            replace_json(self.folder / "zarr.json", content)
        if self._group is not None:
            _replace_attributes(self._group, attributes)  # the caller's handle sees it too


def _attributes_in(written: bytes) -> dict[str, Any]:
    """Return the attributes in the metadata of a group; raise ``ValueError`` if they are no metadata."""
    content = parse_json(written)
    attributes = content.get("attributes") if isinstance(content, dict) else 0
    if not isinstance(attributes, dict | None):
        raise ValueError("other JSON")
    return attributes or {}


def _root(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the root metadata with some attributes."""
    return {"attributes": attributes, "zarr_format": 3, "node_type": "group"}


def _replace_attributes(group: zarr.Group, attributes: dict[str, Any]) -> None:
    known = group.metadata.attributes
    known.clear()
    known.update(attributes)


def check_place(group: Any) -> None:
    """Raise ``TypeError`` unless a collection can be at ``group``."""
    if not isinstance(group, str | os.PathLike | zarr.Group):
        advice = {
            "an AnnData object": "`add_adatas` converts files",
            "a group": "h5py opens single files, which `Loader.add_adata` adds",
            "a zarr store": "`zarr.open_group(store)` opens it",
        }
        raise wrong_kind("group", "a path, a URL or a zarr group", group, advice)
