"""Metadata of absurd size or depth, and files of holes: refused before memory is taken."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from google_crc32c import value as crc32c
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch._format.metadata_files import LocalStore, bounded_reads, parse_json
from annbatch.collection._state.manifest import format_json, manifest_checksum
from annbatch.errors import AnnbatchError, CorruptDataError

HUGE = 8 << 30


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    obs = pd.DataFrame({"n": np.arange(40), "label": pd.Categorical(["a", "b"] * 20)}, [f"cell{i}" for i in range(40)])
    cells = ad.AnnData(sparse.random(40, 20, 0.3, "csr", random_state=0), obs, layers={"dense": np.ones((40, 20))})
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(zarr.open_group(folder / "cells", mode="w", zarr_format=3), "/", cells)
    DatasetCollection(folder / "collection").add_adatas([folder / "cells"], progress=False)
    return folder


def _load(path: Path) -> None:
    for _ in Loader(batch_size=4, keys=("X", "layers/dense", "obs")).add_adata(zarr.open_group(path, mode="r")):
        pass


def _convert(path: Path) -> None:
    DatasetCollection(f"{path}.out").add_adatas([path], progress=False)


def _values(array: str) -> str:
    """Return where a column of text has its values: pandas 3 writes a mask beside them."""
    return f"{array}*/**"


def _grow(pattern: str):
    def damage(store: Path) -> None:
        for path in store.glob(pattern):
            if path.is_file():
                os.truncate(path, HUGE)

    return damage


def _nest(name: str, depth: int = 10**5):
    def damage(store: Path) -> None:
        content = json.loads((store / name).read_bytes())
        content["attributes"]["more"] = None
        (store / name).write_text(json.dumps(content).replace('"more": null', f'"more": {"[" * depth}{"]" * depth}'))

    return damage


def _edit(name: str, **changes):
    def damage(store: Path) -> None:
        content = json.loads((store / name).read_bytes())
        (store / name).write_text(json.dumps(content | changes))

    return damage


def _sharded(array: str):
    """Return a function that says that a shard has 10^9 chunks, and makes its file as large as their index."""

    def damage(store: Path) -> None:
        content = json.loads((store / array / "zarr.json").read_bytes())
        index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
        inner = {"chunk_shape": [1], "codecs": content["codecs"], "index_codecs": index, "index_location": "end"}
        content["codecs"] = [{"name": "sharding_indexed", "configuration": inner}]
        content["chunk_grid"]["configuration"]["chunk_shape"] = [10**9]
        (store / array / "zarr.json").write_text(json.dumps(content))
        _grow(f"{array}/c/**/*")(store)

    return damage


def _filled(store: Path) -> None:
    """Let 1,000 categories that were never written be 10 MB of text each."""
    for path in store.glob("obs/label/categories/**/zarr.json"):
        if json.loads(path.read_bytes()).get("data_type") in ("string", "str"):
            _edit(path.relative_to(store).as_posix(), fill_value="x" * 10**7, shape=[1000])(store)
            shutil.rmtree(path.parent / "c")


DAMAGES = {
    "huge metadata of an array": _grow("X/data/zarr.json"),
    "huge metadata of a frame": _grow("obs/zarr.json"),
    "huge metadata of codes": _grow("obs/label/codes/zarr.json"),
    "nested metadata of a frame": _nest("obs/zarr.json"),
    "nested metadata of an array": _nest("X/data/zarr.json"),
    "holes in values": _grow("obs/n/c/*"),
    "holes in names": _grow(_values("obs/_index") + "/c/*"),
    "holes in categories": _grow(_values("obs/label/categories") + "/c/*"),
    "index of 10^9 chunks": _sharded("X/data"),
    "index of 10^9 chunks of a column": _sharded("obs/n"),
    "many dimensions": _edit("layers/dense/zarr.json", shape=[40] + [1] * 60),
    "negative shape": _edit("X/data/zarr.json", shape=[-5]),
    "shape beyond 64 bits": _edit("X/data/zarr.json", shape=[10**30]),
    "shape beyond 63 bits": _edit("obs/n/zarr.json", shape=[2**63]),
    "fill value of long text": _filled,
}


@pytest.mark.parametrize("act", [_load, _convert])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_absurd_stores_are_refused(stores: Path, tmp_path: Path, damage, act) -> None:
    shutil.copytree(stores / "cells", tmp_path / "cells")
    damage(tmp_path / "cells")
    with pytest.raises((AnnbatchError, TypeError, ValueError), match=str(tmp_path / "cells")):
        act(tmp_path / "cells")


def _read(path: Path) -> None:
    collection = DatasetCollection(path, mode="r")
    collection.obs()
    for _ in Loader(batch_size=4).use_collection(collection):
        pass


def _seal(store: Path, **entry) -> None:
    """Make checksums match, as whoever damages a collection on purpose would."""
    content = json.loads((store / "zarr.json").read_bytes())
    own = content["attributes"]["annbatch"]
    own["datasets"]["dataset_0"] |= {"metadata_crc32c": crc32c((store / "dataset_0/zarr.json").read_bytes())} | entry
    own["crc32c"] = manifest_checksum(content)
    (store / "zarr.json").write_bytes(format_json(content))


def _nested_dataset(store: Path) -> None:
    _nest("dataset_0/zarr.json")(store)
    _seal(store)


COLLECTIONS = {
    "huge root": _grow("zarr.json"),
    "huge dataset": _grow("dataset_0/zarr.json"),
    "nested root": _nest("zarr.json"),
    "nested dataset": _nested_dataset,
}


@pytest.mark.parametrize("damage", COLLECTIONS.values(), ids=COLLECTIONS)
def test_absurd_collections_are_refused(stores: Path, tmp_path: Path, damage) -> None:
    shutil.copytree(stores / "collection", tmp_path / "collection")
    damage(tmp_path / "collection")
    with pytest.raises(AnnbatchError, match=str(tmp_path / "collection")):
        _read(tmp_path / "collection")
    assert not DatasetCollection(tmp_path / "collection").verify(progress=False).ok


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device"])
@pytest.mark.parametrize("name", ["", "dataset_0", "dataset_0/X", "dataset_0/X/data", "dataset_0/obs/n"])
def test_pipes_and_devices_are_not_read(stores: Path, tmp_path: Path, name: str, kind: str) -> None:
    store, pipe = tmp_path / "store", tmp_path / "pipe"
    shutil.copytree(stores / "collection", store)
    path = store / name / "zarr.json"
    path.unlink()
    os.mkfifo(pipe)
    path.symlink_to("/dev/zero" if kind == "link to a device" else pipe)
    if kind == "pipe":
        path.unlink()
        os.mkfifo(path)

    with pytest.raises(CorruptDataError, match=f"{name}/zarr.json is not a regular file"):
        _read(store)


def test_rows_without_number_are_a_problem_of_the_dataset(stores: Path, tmp_path: Path) -> None:
    shutil.copytree(stores / "collection", tmp_path / "collection")
    _seal(tmp_path / "collection", n_obs=float("inf"))
    report = DatasetCollection(tmp_path / "collection").verify(progress=False)
    assert "dataset_0/zarr.json: is damaged" in str(report)


@pytest.mark.parametrize("name", ["attached.json", ".annbatch-work/call.json"])
@pytest.mark.parametrize("huge", [True, False])
def test_absurd_notes_beside_a_collection_are_refused(tmp_path: Path, stores: Path, name: str, huge: bool) -> None:
    path = tmp_path / "collection" / name
    path.parent.mkdir(parents=True)
    path.write_text('{"call": ' + "[" * 10**5 + "]" * 10**5 + "}")
    if huge:
        os.truncate(path, HUGE)
    with pytest.raises(CorruptDataError, match=str(path)):
        DatasetCollection(tmp_path / "collection").add_adatas([stores / "cells"], progress=False)


def test_a_folder_is_read_through_a_store_of_the_same_name(stores: Path) -> None:
    given = zarr.open_group(stores / "cells", mode="r")
    own = bounded_reads(given)
    assert isinstance(own.store, LocalStore)
    assert type(own.store).__name__ == "LocalStore"  # zarrs goes by the name
    assert own.store.root == given.store.root
    assert own.store.read_only
    assert bounded_reads(own) is own
    memory = zarr.create_group({})
    assert bounded_reads(memory) is memory


def test_a_folder_named_by_a_relative_path_is_read_within_bounds(stores: Path, tmp_path: Path, monkeypatch) -> None:
    shutil.copytree(stores / "cells", tmp_path / "cells")
    monkeypatch.chdir(tmp_path)
    DAMAGES["holes in names"](Path("cells"))
    loader = Loader(batch_size=4).add_adata("cells")
    with pytest.raises(CorruptDataError, match="must have a byte stored"):
        next(iter(loader))


def test_nesting_beyond_what_python_reads_is_an_error_of_the_value() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(b"[" * 10**5 + b"]" * 10**5)
