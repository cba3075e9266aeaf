"""Stored datasets keep what they were opened from."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError

SIZES = {"batch_size": 4, "chunk_size": 4, "preload_nchunks": 1}


pytestmark = pytest.mark.filterwarnings(
    "ignore:Writing zarr v2 data will no longer be the default"
)  # anndata before 0.13


def cells(number: int) -> ad.AnnData:
    obs = pd.DataFrame({"who": [number] * 4, "word": [f"w{number}"] * 4}, index=[f"{number} {row}" for row in range(4)])
    return ad.AnnData(np.full((4, 2), number, "f4"), obs=obs)


@pytest.mark.parametrize("opener", [str, lambda path: zarr.open_group(path, mode="r")], ids=["path", "group"])
def test_columns_are_of_the_store_in_the_folder_in_which_it_was_opened(tmp_path, monkeypatch, opener):
    for number, name in enumerate(("mine", "other")):
        (tmp_path / name).mkdir()
        with ad.settings.override(auto_shard_zarr_v3=False):
            cells(number).write_zarr(tmp_path / name / "a.zarr", convert_strings_to_categoricals=False)
    monkeypatch.chdir(tmp_path / "mine")
    loader = Loader(**SIZES).add_adata(opener("a.zarr"))
    monkeypatch.chdir(tmp_path / "other")
    batch = next(iter(loader))
    assert batch["X"].tolist() == [[0, 0]] * 4
    assert batch["obs"].to_dict("list") == {"who": [0] * 4, "word": ["w0"] * 4}
    assert batch["obs"].index.tolist() == [f"0 {row}" for row in range(4)]


def test_a_file_that_was_closed_is_an_error_that_tells_so(tmp_path):
    cells(0).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as file:
        loader = Loader(**SIZES).add_adata(file)
    with pytest.raises(CorruptDataError, match="Column 'who' of an HDF5 file that was closed"):
        next(iter(loader))


@pytest.mark.parametrize("kind", ["zarr", "h5ad"])
def test_strings_of_lazily_read_stores(tmp_path, kind):
    pytest.importorskip("xarray", reason="reading lazily needs xarray")
    with ad.settings.override(auto_shard_zarr_v3=False):
        getattr(cells(3), f"write_{kind}")(tmp_path / f"a.{kind}", convert_strings_to_categoricals=False)
    lazy = ad.experimental.read_lazy(tmp_path / f"a.{kind}")
    (batch,) = Loader(**SIZES).add_adata(lazy)
    assert batch["obs"]["word"].tolist() == ["w3"] * 4
    collection = DatasetCollection(tmp_path / "c")
    collection.add_adatas([tmp_path / f"a.{kind}"], load_adata=ad.experimental.read_lazy, progress=False)
    assert collection.obs()["word"].tolist() == ["w3"] * 4
