"""The manifest of a collection: what its root attributes record."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google_crc32c

from ...errors import CorruptDataError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

ENCODING = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}
"""Root attributes of a finished collection; those of scverse annbatch."""

ATTRIBUTE = "annbatch"
"""Attribute of the root, which holds the manifest, and of each dataset, which holds the checksums of its files."""

VERSION = 2
"""Of what this package writes: since 2, column numbers may be stored as differences. It reads all versions."""

UNFINISHED = "annbatch-unfinished"
"""Root attribute of a collection that is being made, where it is in no local folder."""

WORK = ".annbatch-work"
"""Folder in a local collection that is being written to."""

LOCK = ".annbatch-lock"
"""Object in a collection that is being written to, where it is in no local folder."""

NEW_ROOT = ".zarr.json.new"
"""File that :func:`replace_json` writes before it replaces the root metadata."""

_DATASET = re.compile(r"dataset_([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a collection records of itself.

    Attributes
    ----------
    datasets
        For each dataset, by name: ``n_obs``, and ``metadata_crc32c``, the checksum of its root metadata, which hold
        the checksums of all its other files. Empty for datasets that another program wrote.
    history
        For each call that changed the collection: its name, inputs and seed.
    """

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def since_overwritten(self) -> list[dict[str, Any]]:
        """Return the calls since the collection was last replaced by other rows."""
        last = max((at for at, entry in enumerate(self.history) if entry.get("overwrites")), default=0)
        return self.history[last:]

    def to_attribute(self) -> dict[str, Any]:
        """Return the stored JSON, without its checksum."""
        return {"version": VERSION, "datasets": self.datasets, "history": self.history}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> Manifest | None:
        """Return the manifest in root attributes; None if another program wrote them.

        Raises
        ------
        CorruptDataError
            If it is not of the form that this package writes, or names anything but datasets of the collection.
        """
        own = attributes.get(ATTRIBUTE)
        if own is None:
            return None
        try:
            datasets, history = dict(own["datasets"]), list(own["history"])
            right = all(dataset_number(name) is not None and isinstance(datasets[name], dict) for name in datasets)
            right &= all(isinstance(entry, dict) for entry in history)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptDataError(f"Attribute {ATTRIBUTE!r} of a collection must be a manifest: {error!r}.") from error
        if not right:
            names = ", ".join(map(repr, datasets))
            raise CorruptDataError(f"A manifest must describe datasets named dataset_<number>, got {names}.")
        return cls(datasets, history)


def dataset_number(name: str) -> int | None:
    """Return the number in the name of a dataset; None for other names."""
    match = _DATASET.fullmatch(name)
    return int(match[1]) if match else None


def files_of(folder: Path) -> list[Path]:
    """Return the h5ad files of a collection of such files, in numeric order."""
    found = [path for path in folder.glob("dataset_*.h5ad") if dataset_number(path.stem) is not None]
    return sorted(found, key=lambda path: dataset_number(path.stem) or 0)


def manifest_checksum(content: dict[str, Any]) -> int:
    """Return the CRC-32C of root metadata: of their canonical JSON, without the checksum itself."""
    attributes = dict(content["attributes"])
    attributes[ATTRIBUTE] = {key: value for key, value in attributes[ATTRIBUTE].items() if key != "crc32c"}
    return int(google_crc32c.value(json.dumps(content | {"attributes": attributes}, sort_keys=True).encode()))


def format_json(content: Any) -> bytes:
    """Return the bytes of a JSON file."""
    return json.dumps(content, indent=2).encode()


def replace_json(path: Path, content: Any) -> None:
    """Replace a JSON file, in one step and on the disk: a reader finds the old content or the new."""
    fresh = path.with_name(f".{path.name}.new")
    with suppress(FileNotFoundError):
        fresh.unlink()  # of a run that was killed; if it is a link, what it leads to is not ours
    with open(fresh, "xb") as file:
        file.write(format_json(content))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
