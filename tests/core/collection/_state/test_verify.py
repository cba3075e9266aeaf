from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import pytest

from annbatch import DatasetCollection
from annbatch.collection._state.manifest import ATTRIBUTE, format_json, manifest_checksum

from ..conftest import make_counts


def name_in_metadata(store: Path, name: str, size: int) -> None:
    """Let the metadata of a dataset name another file, with all checksums as they should be."""
    metadata = store / "dataset_0" / "zarr.json"
    content = json.loads(metadata.read_bytes())
    content["attributes"][ATTRIBUTE]["files"][name] = [size, 0]
    metadata.write_bytes(format_json(content))
    root = json.loads((store / "zarr.json").read_bytes())
    known = root["attributes"][ATTRIBUTE]["datasets"]["dataset_0"]
    known["metadata_crc32c"] = google_crc32c.value(metadata.read_bytes())
    root["attributes"][ATTRIBUTE]["crc32c"] = manifest_checksum(root)
    (store / "zarr.json").write_bytes(format_json(root))


@pytest.mark.parametrize("name", ["/dev/zero", "../../../../../../../../dev/zero", "../secret"])
def test_files_outside_are_not_read(tmp_path: Path, write: Callable[..., str], name: str) -> None:
    store = tmp_path / "c.zarr"
    collection = DatasetCollection(store).add_adatas([write(make_counts(0, 9), "0.h5ad")], progress=False)
    (store / "secret").write_text("secret")
    name_in_metadata(store, name, 6)
    assert f"dataset_0/zarr.json: names a file outside of the dataset: {name}" in collection.verify().problems


@pytest.mark.parametrize("kind", ["pipe", "link", "device"])
def test_only_regular_files_are_read(tmp_path: Path, write: Callable[..., str], kind: str) -> None:
    store = tmp_path / "c.zarr"
    collection = DatasetCollection(store).add_adatas([write(make_counts(0, 9), "0.h5ad")], progress=False)
    place = store / "dataset_0" / "more"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero" if kind == "device" else tmp_path / "0.h5ad")
    name_in_metadata(store, "more", 6)
    (problem,) = collection.verify().problems
    assert problem.startswith("dataset_0/more: cannot be read: ")
