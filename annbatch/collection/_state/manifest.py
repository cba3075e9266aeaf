"""The manifest of a collection: what its root's attributes hold."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


ENCODING = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}


OWN = "annbatch"


WORK = ".annbatch-work"


UNFINISHED = "annbatch-unfinished"
"""Root attribute where there is no local folder: what is there is a collection half made."""


LOCK = ".annbatch-lock"
"""Object that is there while a collection that is in no local folder is written to."""


_DATASET = re.compile(r"dataset_(\d+)")


_FRESH = ".zarr.json.new"  # what :func:`replace_json` writes before it replaces


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a collection that this package wrote says of itself.

    Attributes
    ----------
    datasets
        For each dataset its name and what is known about it: ``n_obs``, and ``metadata_crc32c``, the checksum of its
        root metadata, which holds those of all its files.
    history
        For each call that changed the collection: what it did, its seed, its inputs.
    """

    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def to_attribute(self) -> dict[str, Any]:
        """Return the JSON that is stored, but for its checksum."""
        return {"version": 1, "datasets": self.datasets, "history": self.history}

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> Manifest | None:
        """Return what the root attributes say; None if another program wrote them."""
        own = attributes.get(OWN)
        return None if own is None else cls(own["datasets"], own["history"])


def dataset_number(name: str) -> int | None:
    """Return the number of a dataset of this name; None for other names."""
    match = _DATASET.fullmatch(name)
    return int(match[1]) if match else None


def manifest_checksum(content: dict[str, Any]) -> int:
    """Return the CRC-32C of a root's metadata, its own checksum left out."""
    attributes = dict(content["attributes"])
    attributes[OWN] = {key: value for key, value in attributes[OWN].items() if key != "crc32c"}
    return int(google_crc32c.value(json.dumps(content | {"attributes": attributes}, sort_keys=True).encode()))


def format_json(content: Any) -> bytes:
    """Return the bytes of a JSON file."""
    return json.dumps(content, indent=2).encode()


def replace_json(path: Path, content: Any) -> None:
    """Write a JSON file by replacing the old one, so that it is there whole or not at all, and on the disk."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "wb") as file:
        file.write(format_json(content))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have a file, or the entries of a folder, on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
