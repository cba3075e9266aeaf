from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import zarr

from annbatch import DatasetCollection
from annbatch.collection._state.manifest import ATTRIBUTE, format_json, manifest_checksum

from ..conftest import make_counts


def change_metadata(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the metadata of a dataset state, with their checksums as they should be."""
    metadata = store / "dataset_0" / "zarr.json"
    content = json.loads(metadata.read_bytes())
    change(content["attributes"][ATTRIBUTE])
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
    change_metadata(store, lambda own: own["files"].update({name: [6, 0]}))
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
    change_metadata(store, lambda own: own["files"].update(more=[6, 0]))
    (problem,) = collection.verify().problems
    assert problem.startswith("dataset_0/more: cannot be read: ")


@pytest.mark.parametrize("change", ["new values", "two chunks swapped"])
def test_chunks_that_bring_their_own_checksums(tmp_path: Path, write: Callable[..., str], change: str) -> None:
    store, paths = tmp_path / "c.zarr", [write(make_counts(0, 40), "0.h5ad")]
    collection = DatasetCollection(store).add_adatas(
        paths, n_obs_per_chunk=4, layout="random_access", zarr_compressor=(), progress=False
    )
    assert collection.verify().ok
    group = zarr.open_group(store / "dataset_0", mode="r+")
    data = group["X/data"]
    size = data.chunks[0]
    first, second = data[:size], data[size : 2 * size]
    if change == "new values":
        data[:size] = first[::-1]
    else:
        data[: 2 * size] = [*second, *first]
    shard = store / "dataset_0/X/data/c/0"
    own = json.loads((store / "dataset_0/zarr.json").read_bytes())["attributes"][ATTRIBUTE]
    assert [shard.stat().st_size, google_crc32c.value(shard.read_bytes())] == own["files"]["X/data/c/0"]

    assert collection.verify().problems == ["dataset_0/X/data/c/0: its checksum does not match"]
    change_metadata(store, lambda own: own.pop("crc32"))  # as older versions wrote them
    assert DatasetCollection(store).verify().ok
