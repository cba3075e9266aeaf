"""A bit that flips on the way is an error that names the object, whatever the object holds; so is a missing object."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader, RemoteStore
from annbatch._anndata.columns import read_element
from annbatch._format.attributes import COLUMNS_BEFORE
from annbatch.errors import CorruptDataError

URL = "s3://bucket/checked"
ELEMENTS = ("X", "layers", "obsm", "obs", "var", "varm", "varp", "uns")
KEYS = ("X", "layers/dense", "obsm/X_pca", "obs")
N_ROWS = 40


def rich():
    """Return cells with an element of every kind."""
    counts = sparse.random(N_ROWS, 9, 0.4, format="csr", random_state=0, dtype="f4")
    obs = pd.DataFrame(
        {
            "label": pd.Categorical(["B", "T"] * (N_ROWS // 2)),
            "depth": np.arange(N_ROWS) / 3,
            "age": pd.array([None, *range(1, N_ROWS)], dtype="Int64"),
        },
        index=[f"cell{i}" for i in range(N_ROWS)],
    )
    var = pd.DataFrame({"symbol": list("abcdefghi")}, index=[f"gene{i}" for i in range(9)])
    return ad.AnnData(
        counts,
        obs=obs,
        var=var,
        layers={"dense": counts.toarray()},
        obsm={"X_pca": np.random.default_rng(0).normal(size=(N_ROWS, 2)), "scores": obs[["depth"]]},
        varm={"loadings": np.ones((9, 2))},
        varp={"correlation": sparse.eye(9, format="csr")},
        uns={"palette": np.array(["red", "blue"]), "version": 3, "title": "cells"},
    )


@pytest.fixture(scope="module")
def files(bucket, s3, tmp_path_factory):
    """Names of the files of a collection, which are objects of the bucket, too."""
    folder = tmp_path_factory.mktemp("rich")
    rich().write_h5ad(folder / "cells.h5ad")
    made = folder / "c"
    DatasetCollection(made).add_adatas([folder / "cells.h5ad"], rng=np.random.default_rng(0), progress=False)
    names = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    for name in names:
        bucket.put(f"checked/{name}", made / name)
    return names


@pytest.fixture
def spoil(proxy):
    """Let the answer about an object have a flipped bit, or another fault."""

    def spoil(name, fault="flip"):
        proxy.choose = lambda seen: fault if seen.path.partition("?")[0].endswith(f"/checked/{name}") else ""

    return spoil


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_object_of_a_dataset(files, spoil, element):
    (dataset,) = DatasetCollection(URL, mode="r")
    mine = [name for name in files if name.startswith(f"dataset_0/{element}/")]
    assert mine
    for name in mine:
        if COLUMNS_BEFORE in name:  # anndata reads without it
            continue
        spoil(name)
        with pytest.raises(CorruptDataError, match=name.removesuffix("/zarr.json").partition("/c/")[0]):
            read_element(dataset[element])
    spoil("none")
    read_element(dataset[element])


def test_the_metadata_of_a_dataset(files, spoil):
    spoil("dataset_0/zarr.json")
    with pytest.raises(CorruptDataError, match=f"{URL}/dataset_0/zarr.json failed: the checksum does not match"):
        DatasetCollection(URL, mode="r").obs()


@pytest.mark.parametrize("word", [b"preshuffled", b'"n_obs"', b"{", b"attributes"])
def test_the_metadata_of_the_collection(files, bucket, environment, word):
    content = bytes(bucket.get("checked/zarr.json").bytes())
    bucket.put("checked/zarr.json", content.replace(word, bytes([word[0] ^ 1]) + word[1:], 1))
    try:
        with pytest.raises(CorruptDataError, match=f"^{URL}/zarr.json does not match its checksum"):
            DatasetCollection(URL, mode="r").obs()
    finally:
        bucket.put("checked/zarr.json", content)


@pytest.mark.parametrize(
    "name",
    [
        "X/indptr/c/0",
        "X/indices_before/c/0",
        "X/indices_before/zarr.json",
        "layers/dense/c/0/0",
        "obs/label/codes/c/0",
        "obs/_index/c/0",
        "obsm/X_pca/zarr.json",
    ],
)
def test_what_a_loader_reads(files, spoil, name):
    def load():
        with Loader(batch_size=10, chunk_size=5, preload_nchunks=4, keys=KEYS) as loader:
            return list(loader.use_collection(DatasetCollection(URL, mode="r")))

    spoil(f"dataset_0/{name}")
    with pytest.raises(CorruptDataError, match=f"dataset_0/{name}"):
        load()
    spoil("none")
    assert sum(len(batch["obs"]) for batch in load()) == N_ROWS


@pytest.mark.parametrize("name", ["obs/depth/c/0", "uns/palette/c/0", "var/zarr.json"])
def test_a_missing_object_has_no_fill_value(files, spoil, name):
    spoil(f"dataset_0/{name}", "404")
    with pytest.raises(CorruptDataError, match=f"dataset_0/{name} .*failed: the object is missing"):
        DatasetCollection(URL, mode="r").to_adata()


def test_consolidated_metadata_are_not_used(files, bucket, environment):
    """No checksum covers them."""
    content = bytes(bucket.get("checked/zarr.json").bytes())
    with pytest.warns(UserWarning, match="Consolidated metadata"):
        group = zarr.consolidate_metadata(RemoteStore(URL))
    assert group.metadata.consolidated_metadata is not None
    try:
        (dataset,) = DatasetCollection(URL, mode="r")
        assert dataset.metadata.consolidated_metadata is None
        assert read_element(dataset["uns"])["version"] == 3
    finally:
        bucket.put("checked/zarr.json", content)
