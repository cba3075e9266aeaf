"""Annotations of variables that are written as they are, or refused."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection, write_sharded
from annbatch.collection._inputs.annotations import storable
from annbatch.errors import StoreError

from ..conftest import make_counts

WORDS = np.array(["a", None, np.nan, "d"] + ["e"] * 26, object)
MISSING = [False, True, True, False] + [False] * 26


def with_missing(path: object) -> ad.AnnData:
    cells = make_counts(0, 3)
    frame = pd.DataFrame({"word": WORDS, "flag": [True, None] * 15}, index=cells.var_names, dtype=object)
    cells.var = cells.var.join(frame)
    cells.varm["table"] = frame
    cells.uns |= {"words": WORDS, "deep": {"table": frame}}
    cells.raw = cells
    return cells


def assert_missing(cells: ad.AnnData) -> None:
    frames = cells.var, cells.varm["table"], cells.uns["deep"]["table"], cells.raw.var, cells.raw.varm["table"]
    for frame in frames:
        assert pd.isna(frame["word"]).tolist() == MISSING
        assert pd.isna(frame["flag"]).tolist() == [False, True] * 15
        assert frame["word"].dropna().tolist() == ["a", "d"] + ["e"] * 26
        assert frame["flag"].dropna().tolist() == [True] * 15
    assert pd.isna(cells.uns["words"]).tolist() == MISSING


def test_missing_strings_of_objects_stay_missing(tmp_path: Path) -> None:
    make_counts(0, 3).write_h5ad(tmp_path / "a.h5ad")
    settings = {"load_adata": with_missing, "progress": False}
    assert_missing(DatasetCollection(tmp_path / "a.zarr").add_adatas([tmp_path / "a.h5ad"], **settings).to_adata())
    DatasetCollection(tmp_path / "files", is_collection_h5ad=True).add_adatas([tmp_path / "a.h5ad"], **settings)
    assert_missing(ad.read_h5ad(tmp_path / "files" / "dataset_0.h5ad"))
    group = zarr.open_group(tmp_path / "b.zarr", mode="w")
    write_sharded(group, with_missing(None))
    assert_missing(ad.read_zarr(tmp_path / "b.zarr"))


def test_strings_in_varm_that_one_input_lacks_are_missing(tmp_path: Path) -> None:
    for number in range(2):
        cells = make_counts(number, 3)[:, number * 10 :].copy()
        if number:
            cells.varm["table"] = pd.DataFrame({"word": cells.var_names.str.upper()}, index=cells.var_names)
        cells.write_h5ad(tmp_path / f"{number}.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([tmp_path / "0.h5ad", tmp_path / "1.h5ad"], merge="unique", progress=False)
    word = collection.to_adata().varm["table"]["word"]
    assert word.isna().tolist() == [True] * 10 + [False] * 20
    assert word.dropna().tolist() == [f"GENE{i}" for i in range(10, 30)]


@pytest.mark.parametrize("values", [[1, "a"], [1, None], [b"a", b"b"], [{}, []]], ids=str)
def test_other_objects_are_refused_and_do_not_become_text(values: list[object]) -> None:
    objects = np.empty(2, object)
    objects[:] = values
    with pytest.raises(StoreError, match=r"`uns` of a\['x'\]\['y'\] must hold numbers.*in an array of objects"):
        storable({"x": {"y": objects}}, "`uns` of a")
    with pytest.raises(StoreError, match="Column 'x' of `var` of a must hold numbers"):
        storable(pd.DataFrame({"x": objects}), "`var` of a")


def test_what_the_user_holds_does_not_change() -> None:
    frame = pd.DataFrame({"x": pd.Series(WORDS, dtype=object)})
    assert storable(frame, "`var`") is not frame
    assert frame["x"].dtype == object


@pytest.mark.parametrize("key", ["uns", "varm"])
def test_empty_keys_are_refused(tmp_path: Path, key: str) -> None:
    cells = make_counts(0, 3)
    getattr(cells, key)[""] = np.zeros((30, 2))
    make_counts(0, 3).write_h5ad(tmp_path / "a.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr")
    with pytest.raises(StoreError, match=f"`{key}` of .*a.h5ad must have keys of at least one character"):
        collection.add_adatas([tmp_path / "a.h5ad"], load_adata=lambda path: cells, progress=False)
    assert collection.is_empty


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_none_in_uns_is_kept(tmp_path: Path, kind: str) -> None:
    cells = make_counts(0, 3)
    cells.uns["log1p"] = {"base": None}  # as scanpy writes it
    path = tmp_path / f"a.{kind}"
    if kind == "h5ad":
        cells.write_h5ad(path)
    else:
        write_sharded(zarr.open_group(path, mode="w"), cells)
    converted = DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
    attached = DatasetCollection(tmp_path / "all").attach([path])
    for collection in (converted, attached):
        assert collection.to_adata().uns == {"log1p": {"base": None}}
