"""Arguments of any kind that a call may get: valid ones of NumPy's types, and others that are refused before work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection, Loader, write_sharded
from annbatch.collection._runs.request import AddRequest
from annbatch.errors import StoreError

# What stands for an argument of each kind of a wrong type.
NO_NAMES = [0, 1.5, b"x", object(), np.array(1), Path("x"), [None], ad.AnnData(np.eye(2))]
NO_NUMBER = [None, "x", [], 1.5, np.array([1, 2]), float("nan"), object(), pd.Series([1])]
NO_FLAG = [None, "no", [], 2, 1.5, np.array([True, False]), pd.DataFrame(), object()]
NO_CODEC = [0, "gzip", b"x", [1], {}, {"name": "x"}, object()]
WRONG = {
    "load_adata": [0, "read", [], object()],
    "groupby": NO_NAMES,
    "var_subset": NO_NAMES,
    "obs_columns": NO_NAMES,
    "obsp": [*NO_NAMES, None],
    "n_obs_per_chunk": NO_NUMBER,
    "shuffle_chunk_size": NO_NUMBER,
    "zarr_compressor": NO_CODEC,
    "client": [0, "localhost:8786", [], object()],
    "layer": [0, b"x", ["x"], object()],
    **dict.fromkeys(("shuffle", "narrow", "progress", "overwrite", "dry_run"), NO_FLAG),
}


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    adata = ad.AnnData(np.eye(5, dtype=np.float32))
    with ad.settings.override(auto_shard_zarr_v3=False):
        adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kinds_are_refused_before_any_work(cells: Path, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(TypeError, match=name):
            DatasetCollection(cells.parent / "c.zarr").add_adatas([cells], progress=False, **{name: value})
    assert not (cells.parent / "c.zarr").exists()


def test_columns_to_sort_by_are_looked_for_before_any_work(cells: Path) -> None:
    with pytest.raises(ValueError, match="`groupby` must name columns that `obs` has in all inputs, got 'x'"):
        DatasetCollection(cells.parent / "c.zarr").add_adatas([cells], progress=False, groupby="x")
    assert {path.name for path in (cells.parent / "c.zarr").rglob("*")} <= {".annbatch-work", "lock"}


def test_numbers_and_flags_of_numpy_are_recorded_as_those_of_python(cells: Path) -> None:
    arguments: dict[str, Any] = {
        "n_obs_per_chunk": np.int64(2),
        "shard_size": np.int32(4),
        "dataset_size": np.uint8(3),
        "shuffle": np.False_,
        "narrow": 1,
        "progress": np.False_,
        "min_overlap": np.float32(0.5),
    }
    collection = DatasetCollection(cells.parent / "c.zarr").add_adatas([cells], **arguments)
    assert len(collection) == 2
    assert np.array_equal(collection.to_adata(np.int64(0)).X, np.eye(5)[:3])


def test_datasets_have_numbers_and_columns_names(cells: Path) -> None:
    collection = DatasetCollection(cells.parent / "c.zarr").add_adatas([cells], progress=False)
    for dataset in (None, "0", 1.5, [0], np.array([0, 1])):
        with pytest.raises(TypeError, match="`dataset` must be an integer, got"):
            collection.to_adata(dataset)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`columns` must be a name or a list of names, got"):
        collection.obs(1.5)  # type: ignore[arg-type]


def test_write_sharded_refuses_wrong_kinds_before_it_deletes(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    group.create_group("kept")
    adata = ad.AnnData(np.eye(5, dtype=np.float32))
    wrong: list[dict[str, Any]] = [
        *({"n_obs_per_chunk": value} for value in NO_NUMBER),
        *({"compressors": value} for value in NO_CODEC),
        *({"key": value} for value in (0, b"x", ["x"])),
    ]
    for arguments in wrong:
        with pytest.raises(TypeError, match=next(iter(arguments))):
            write_sharded(group, adata, **arguments)
    assert "kept" in group


def test_a_collection_of_files_is_so_or_not(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="`is_collection_h5ad` must be True or False, got 'yes'"):
        DatasetCollection(tmp_path / "c", is_collection_h5ad="yes")  # type: ignore[arg-type]


def test_every_flag_of_a_request_is_tried() -> None:
    flags = {name for name, kind in AddRequest.__annotations__.items() if kind == "bool"}
    assert flags <= set(WRONG)


CHANGES: dict[str, Callable[[ad.AnnData], ad.AnnData | None]] = {
    "rows": lambda adata: adata[:3],
    "variables": lambda adata: adata[:, ::-1],
    "X": lambda adata: setattr(adata, "X", adata.X.astype(np.int64)),
    "layers/l": lambda adata: ad.AnnData(adata.X, obs=adata.obs, var=adata.var),
    r"obs\['k'\]": lambda adata: setattr(adata, "obs", adata.obs[["n"]]),
    r"obs\['n'\]": lambda adata: adata.obs.__setitem__("n", list("abcde")),
    r"obs\['k'\] ": lambda adata: adata.obs.__setitem__("k", pd.Categorical(list("xyxyx"))),
}


@pytest.mark.parametrize(("what", "groupby"), [(what, None) for what in CHANGES] + [("rows", "n")])
def test_a_function_that_returns_something_else_the_second_time_is_refused(
    cells: Path, what: str, groupby: str | None
) -> None:
    calls = []

    def load(path: str) -> ad.AnnData:
        adata = ad.read_h5ad(path)
        adata.obs["n"], adata.obs["k"] = np.arange(5), pd.Categorical(list("ababa"))
        adata.layers["l"] = adata.X.copy()
        calls.append(path)
        return adata if len(calls) == 1 else CHANGES[what](adata) or adata

    with pytest.raises(StoreError, match=rf"`load_adata` must return the same .* got other .*{what.strip()}.* before"):
        DatasetCollection(cells.parent / "c.zarr").add_adatas([cells], load_adata=load, groupby=groupby, progress=False)
    assert DatasetCollection(cells.parent / "c.zarr").is_empty


def test_a_file_that_was_closed_is_refused(cells: Path) -> None:
    file = h5py.File(cells)
    file.close()
    with pytest.raises(ValueError, match="`adata_paths` must be open, got an HDF5 file that was closed"):
        DatasetCollection(cells.parent / "c.zarr").add_adatas([file], progress=False)
    with pytest.raises(ValueError, match="`adata` must be open, got an HDF5 file that was closed"):
        Loader().add_adata(file)
