"""Existing stores as one collection, without a copy."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader, diversity, suggest, write_sharded
from annbatch._arrays.native import NativeArray
from annbatch._arrays.open import open_array
from annbatch.errors import CorruptDataError, NotACollectionError, StoreError
from annbatch.samplers import split

GENES = [f"gene{i}" for i in range(12)]


def cells(number: int, n: int, genes=GENES, **more) -> ad.AnnData:
    rng = np.random.default_rng(number)
    labels = np.sort(rng.choice(["a", "b", f"only {number}"], n))
    obs = pd.DataFrame({"label": pd.Categorical(labels), **more}, index=[f"cell {number} {row}" for row in range(n)])
    counts = sparse.csr_matrix(rng.poisson(0.5, (n, len(genes))).astype("f4"))
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=list(genes)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An h5ad file, a zarr store and a collection, which every test has a copy of."""
    folder = tmp_path_factory.mktemp("stores")
    every = [cells(0, 90), cells(1, 60), cells(2, 50)]
    every[0].write_h5ad(folder / "a.h5ad", compression="gzip")
    write_sharded(zarr.open_group(folder / "b.zarr", mode="w"), every[1])
    every[2].write_h5ad(folder / "c.h5ad")
    converted = DatasetCollection(folder / "c.zarr")
    converted.add_adatas([folder / "c.h5ad"], shuffle=False, dataset_size=30, progress=False)
    return folder, every


@pytest.fixture
def stores(made, tmp_path):
    """An h5ad file, a zarr store and a collection; and their cells in the order in which they are stored."""
    shutil.copytree(made[0], tmp_path, dirs_exist_ok=True)
    return [tmp_path / "a.h5ad", tmp_path / "b.zarr", tmp_path / "c.zarr"], made[1]


@pytest.fixture
def attached(stores, tmp_path):
    DatasetCollection(tmp_path / "all").attach(stores[0])
    return DatasetCollection(tmp_path / "all", mode="r")


def loader_of(collection, **settings) -> Loader:
    sizes = {"batch_size": 25, "chunk_size": 5, "preload_nchunks": 10, "shuffle": True, "seed": 0}
    return Loader(**sizes | settings, return_index=True, obs_columns=["label"]).use_collection(collection)


def test_what_is_attached_is_read_where_it_is(stores, attached, tmp_path):
    every = stores[1]
    x, obs = np.concatenate([one.X.toarray() for one in every]), pd.concat([one.obs for one in every])
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["attached.json"]
    assert (attached.n_obs, attached.n_vars, len(attached), attached.fingerprint) == (200, 12, 4, None)
    assert repr(attached).endswith("all, 200 rows x 12 variables in 4 attached stores")
    assert attached.obs(["label"])["label"].tolist() == obs["label"].astype(str).tolist()
    np.testing.assert_array_equal(attached.to_adata(1).X.toarray(), every[1].X.toarray())
    for loader in (loader_of(attached), pickle.loads(pickle.dumps(loader_of(attached)))):
        for batch in loader:
            np.testing.assert_array_equal(batch["X"].toarray(), x[batch["index"]])
            assert batch["obs"].index.tolist() == obs.index[batch["index"]].tolist()
    assert len(split(attached.obs(["label"]), {"train": 0.8, "test": 0.2}, seed=0)["train"]) > 100
    assert pickle.loads(pickle.dumps(attached)).n_obs == 200
    assert len(suggest(attached, batch_size=20, columns=["label"]).diversity) == 1


def test_diversity_says_what_it_costs_that_rows_are_not_shuffled(attached):
    found = diversity(loader_of(attached, chunk_size=25, preload_nchunks=1), "label")
    assert found.lost_entropy > 0.5
    assert repr(found).endswith(f"not shuffled: costs {found.lost_entropy:.3f} bits per batch")
    assert "shuffled" not in repr(diversity(Loader().add_adata(cells(0, 9)), "label"))


def test_other_genes_and_columns_are_joined_while_reading(tmp_path, stores):
    cells(3, 40, [*GENES[4:], "new"], depth=1.0).write_h5ad(tmp_path / "d.h5ad")
    collection = DatasetCollection(tmp_path / "joined").attach([stores[0][0], tmp_path / "d.h5ad"])
    assert collection.var_names.tolist() == [*GENES, "new"]
    assert collection.obs()["depth"].isna().sum() == 90
    assert suggest(collection, batch_size=20).diversity[0].column == "label"
    loader = loader_of(collection, var_join="outer", obs_join="outer")
    assert loader.take([0, 129])["X"].shape == (2, 13) == (2, collection.n_vars)
    with pytest.raises(ValueError, match="`var_join` joins different genes"):
        loader_of(collection)


def test_a_shuffled_copy_can_be_made_of_it(stores, tmp_path):
    attached = DatasetCollection(tmp_path / "two").attach(stores[0][:2])
    copy = DatasetCollection(tmp_path / "copy").add_adatas(list(attached), progress=False)
    assert copy.verify().ok
    assert sorted(copy.obs().index) == sorted(attached.obs().index)


def test_groups_and_attached_collections_can_be_attached(stores, attached, tmp_path):
    with h5py.File(tmp_path / "many.h5", "w") as file:
        ad.io.write_elem(file, "one", cells(5, 7))
    with h5py.File(tmp_path / "many.h5") as file:
        several = [file["one"], zarr.open_group(stores[0][1], mode="r")]
        assert DatasetCollection(tmp_path / "groups").attach(several).n_obs == 67
    assert DatasetCollection(tmp_path / "again").attach([tmp_path / "all", tmp_path / "c.h5ad"]).n_obs == 250


def test_verify_checks_what_has_checksums(stores, attached, tmp_path):
    report = attached.verify()
    assert report.ok
    assert (report.n_datasets, report.n_obs, report.unchecked) == (4, 50, [str(path) for path in stores[0][:2]])
    chunk = next(path for path in (tmp_path / "c.zarr/dataset_0/X/data").rglob("c/*") if path.is_file())
    before = chunk.stat()
    chunk.write_bytes(bytes(before.st_size))
    os.utime(chunk, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert attached.verify().problems == [f"{tmp_path}/c.zarr/dataset_0/X/data/c/0: its checksum does not match"]


def test_a_store_that_changed_or_is_gone_is_noticed(stores, attached, tmp_path):
    with h5py.File(stores[0][0], "r+") as file:
        file["X/data"][0] = 9
    changed = re.escape(f"{stores[0][0]} has changed since it was attached")
    with pytest.raises(StoreError, match=changed):
        loader_of(attached)
    assert re.match(changed, attached.verify().problems[0])
    stores[0][0].unlink()
    with pytest.raises(StoreError, match=r"a.h5ad is attached to a collection, and is missing"):
        _ = attached.n_obs
    os.mkfifo(stores[0][0])
    with pytest.raises(StoreError, match=r"a.h5ad must be .* not a regular file"):
        _ = attached.n_obs


def test_a_collection_that_was_shuffled_again_is_noticed(stores, attached, tmp_path):
    DatasetCollection(tmp_path / "c.zarr").reshuffle(progress=False)
    with pytest.raises(StoreError, match=r"c.zarr/dataset_0 is attached to a collection, and is missing"):
        loader_of(attached)


@pytest.mark.parametrize(
    "call",
    [
        lambda place: DatasetCollection(place).add_adatas(["a.h5ad"]),
        lambda place: DatasetCollection(place).reshuffle(),
        lambda place: DatasetCollection(place).attach(["a.h5ad"]),
    ],
    ids=["add_adatas", "reshuffle", "attach"],
)
def test_what_is_attached_is_never_changed(attached, tmp_path, call):
    with pytest.raises(ValueError, match=r"attached, which are only read\. Make a shuffled collection"):
        call(tmp_path / "all")
    assert attached.n_obs == 200


@pytest.mark.parametrize(
    ("place", "paths", "error", "rule"),
    [
        ("new", ["a.h5ad", "./a.h5ad"], ValueError, "must name each store once, got .*a.h5ad twice"),
        ("new", [], ValueError, "`paths` must name at least one"),
        ("new", "a.h5ad", TypeError, "`paths` must be a list of inputs, got a path"),
        ("new", ["none.h5ad"], FileNotFoundError, "none.h5ad"),
        ("new", ["text.h5ad"], StoreError, "text.h5ad must be an h5ad file or a zarr store"),
        ("new", ["b.zarr/X"], StoreError, "must hold an AnnData object with `obs` and `var`"),
        ("new", ["s3://me:secret@bucket/x"], ValueError, "must not have credentials in URLs, .* got s3://bucket/x"),
        ("c.zarr", ["a.h5ad"], ValueError, "c.zarr has datasets already: attach it, with the other stores"),
        ("b.zarr", ["a.h5ad"], NotACollectionError, "must be empty or a finished collection"),
        (zarr.group(), ["a.h5ad"], ValueError, "a local folder of its own; got .*, no local folder"),
    ],
)
def test_what_cannot_be_attached(stores, tmp_path, monkeypatch, place, paths, error, rule):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.h5ad").write_text("no HDF5")
    with pytest.raises(error, match=rule):
        DatasetCollection(place).attach(paths)
    assert not (tmp_path / "new").exists()


def test_a_call_that_was_killed_can_be_made_again(stores, tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all/.attached.json.new").write_text("{")
    assert DatasetCollection(tmp_path / "all").is_empty
    assert DatasetCollection(tmp_path / "all").attach(stores[0]).n_obs == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["stores"][0].update(place="relative.h5ad"),
        lambda content: content["stores"][0].update(group="../other"),
        lambda content: content["stores"][0].update(identity=["x"]),
        lambda content: content.update(stores=7),
        lambda content: content.update(version=2),
        lambda content: content.clear(),
    ],
    ids=["a relative path", "a way out", "no identity", "no list", "a later version", "nothing"],
)
@pytest.mark.parametrize("signed", [True, False])
def test_a_damaged_file_of_references_is_refused(attached, tmp_path, change, signed):
    path = tmp_path / "all/attached.json"
    content = json.loads(path.read_text())
    change(content)
    if signed and "stores" in content:
        from annbatch.collection._state.attached import _checksum

        content["crc32c"] = _checksum(content["stores"])
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptDataError, match=r"all/attached.json is damaged, or was not written by annbatch"):
        _ = attached.n_obs
    assert not DatasetCollection.verify(attached).ok
    path.write_text("no JSON")
    with pytest.raises(CorruptDataError, match="got no JSON"):
        DatasetCollection(tmp_path / "all", mode="r")


def test_a_collection_of_its_own_ignores_references(stores, tmp_path):
    collection = DatasetCollection(tmp_path / "c.zarr")
    (tmp_path / "c.zarr/attached.json").write_text("{}")
    assert (collection.n_obs, collection.is_attached) == (50, False)
    assert collection.verify().problems == ["attached.json: does not belong to the collection"]


@pytest.mark.parametrize("cname", ["zstd", "lz4"])
def test_numbered_stores_with_sharded_csr(tmp_path, cname):
    """As published collections are, such as Tahoe-100M: shuffled, no root, one store per part."""
    every = [cells(number, 70) for number in range(3)]
    codec = zarr.codecs.BloscCodec(cname=cname, clevel=3, shuffle="bitshuffle")
    paths = [tmp_path / f"chunk_{number}.zarr" for number in range(3)]
    for path, one in zip(paths, every, strict=True):
        sizes = {"n_obs_per_chunk": 8, "shard_size": 32}
        write_sharded(zarr.open_group(path, mode="w", zarr_format=3), one, compressors=codec, **sizes)
        arrays = zarr.open_group(path, mode="r")["X"]
        assert all(isinstance(open_array(arrays[name]), NativeArray) for name in ("data", "indices"))

    DatasetCollection(tmp_path / "all").attach(paths)
    x = np.concatenate([one.X.toarray() for one in every])
    settings = {"batch_size": 30, "chunk_size": 5, "preload_nchunks": 6, "shuffle": True, "seed": 0}
    loaders = [Loader(**settings, return_index=True, obs_join="outer") for _ in range(2)]
    loaders[0].use_collection(DatasetCollection(tmp_path / "all", mode="r"))
    loaders[1].add_adatas(paths)
    for loader in loaders:
        seen = list(loader)
        assert sorted(np.concatenate([batch["index"] for batch in seen])) == list(range(210))
        for batch in seen:
            assert np.array_equal(batch["X"].toarray(), x[batch["index"]])


def test_a_file_of_anndata_0_7_is_read_whole(tmp_path):
    one = cells(0, 6)
    one.raw, one.obsp["near"] = one, sparse.csr_matrix(np.eye(6))
    one.obsm["names"] = np.array([(2.5, 1)] * 6, dtype=[("x", "f4"), ("y", "i4")])
    one.write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        for group in (file, file["raw"]):  # which had no encodings
            del group.attrs["encoding-type"], group.attrs["encoding-version"]

    found = DatasetCollection(tmp_path / "all").attach([tmp_path / "a.h5ad"]).to_adata()

    for a, b in ((found.X, one.X), (found.raw.X, one.raw.X), (found.obsp["near"], one.obsp["near"])):
        np.testing.assert_array_equal(a.toarray(), b.toarray(), strict=True)
    assert found.raw.var_names.tolist() == one.raw.var_names.tolist()
    assert found.obsm["names"].tolist() == one.obsm["names"].tolist()


LARGE = 2**53 + 1  # the first integer that float64 cannot hold


@pytest.mark.parametrize("first", [[LARGE] * 2, pd.array([LARGE, None]), pd.Categorical([LARGE, 1])])
@pytest.mark.parametrize("second", [[0.5, 1.5], np.array([2**64 - 1, 1], "u8"), None])
def test_obs_rounds_no_integers(tmp_path, first, second):
    columns = {"a": first, "b": second}
    for name, column in columns.items():
        one = cells(ord(name), 2)
        if column is not None:
            one.obs["number"] = column
        one.write_h5ad(tmp_path / f"{name}.h5ad")
    attached = DatasetCollection(tmp_path / "all").attach([tmp_path / "a.h5ad", tmp_path / "b.h5ad"])

    found = attached.obs("number")["number"]

    expected = [*first, *(second if second is not None else [None, None])]
    assert found.isna().tolist() == pd.isna(expected).tolist()
    assert found.dropna().tolist() == [value for value in expected if not pd.isna(value)]
