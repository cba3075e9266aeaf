"""Paths and URLs where opened objects are taken."""

from __future__ import annotations

import pickle
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.errors import NotACollectionError, StoreError


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one AnnData as an h5ad file, as a zarr store, and as a collection."""
    folder = tmp_path_factory.mktemp("stores")
    obs = pd.DataFrame({"label": pd.Categorical(["a", "b"] * 10)}, index=[f"cell{i}" for i in range(20)])
    cells = ad.AnnData(sparse.random(20, 5, 0.5, format="csr", rng=np.random.default_rng(0)), obs=obs)
    cells.write_h5ad(folder / "cells.h5ad")
    write_sharded(zarr.open_group(folder / "cells.zarr", mode="w"), cells)
    DatasetCollection(folder / "c.zarr").add_adatas([folder / "cells.h5ad"], shuffle=False, progress=False)
    return folder


def values(loader: Loader) -> np.ndarray:
    with loader:
        return np.concatenate([batch["X"].toarray() for batch in loader])


@pytest.mark.parametrize("name", ["cells.h5ad", "cells.zarr"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_or_store_by_its_path(stores: Path, name: str, kind: type) -> None:
    expected = ad.read_h5ad(stores / "cells.h5ad").X.toarray()
    loader = Loader(batch_size=8, chunk_size=4, preload_nchunks=4).add_adata(kind(stores / name))
    assert np.array_equal(values(pickle.loads(pickle.dumps(loader))), expected)
    assert np.array_equal(values(loader), expected)
    twice = Loader(batch_size=8, chunk_size=4, preload_nchunks=4).add_adatas([kind(stores / name)] * 2)
    assert np.array_equal(values(twice), np.concatenate([expected, expected]))


def test_a_collection_by_its_path(stores: Path) -> None:
    sizes = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 4}
    collection = DatasetCollection(stores / "c.zarr", mode="r")
    expected = values(Loader(**sizes).use_collection(collection))
    assert np.array_equal(values(Loader(**sizes).use_collection(str(stores / "c.zarr"))), expected)
    assert np.array_equal(values(Loader(stores / "c.zarr", **sizes)), expected)
    assert np.array_equal(values(Loader(collection, **sizes)), expected)


@pytest.mark.parametrize(
    ("method", "name", "error", "message"),
    [
        ("add_adata", "none.h5ad", FileNotFoundError, "No such input: .*none.h5ad"),
        (
            "add_adata",
            "text.h5ad",
            StoreError,
            "text.h5ad must be an h5ad file or .* is not HDF5",
        ),
        ("add_adata", "folder", StoreError, "folder must be an h5ad file or a zarr store, got a folder without"),
        ("add_adata", "c.zarr", TypeError, "annbatch-preshuffled: `use_collection"),
        ("use_collection", "cells.zarr", NotACollectionError, "cells.zarr"),
    ],
)
def test_paths_of_other_things(stores: Path, method: str, name: str, error: type[Exception], message: str) -> None:
    (stores / "text.h5ad").write_text("cells")
    (stores / "folder").mkdir(exist_ok=True)
    with pytest.raises(error, match=message):
        getattr(Loader(), method)(stores / name)


def test_one_column_may_be_named_alone(stores: Path) -> None:
    with Loader(stores / "c.zarr", obs_columns="label", keys="obs") as loader:
        assert list(next(iter(loader))["obs"].columns) == ["label"]
