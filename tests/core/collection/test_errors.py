"""Inputs and collections of the wrong kind are refused before any work, by errors that name them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr

from annbatch import DatasetCollection
from annbatch.errors import NotACollectionError, StoreError

from .conftest import convert, make_counts

Write = Callable[..., str]


def test_a_missing_file_is_named_before_any_work(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    with pytest.raises(FileNotFoundError, match=r"No such input: .*nowhere\.h5ad"):
        convert(tmp_path / "c.zarr", [path, tmp_path / "nowhere.h5ad"])
    assert not (tmp_path / "c.zarr").exists()


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.h5ad").write_text("hello")
    with pytest.raises(
        StoreError, match=r"notes\.h5ad must be an h5ad file or a zarr store, got a file that is not HDF5"
    ):
        convert(tmp_path / "c.zarr", [tmp_path / "notes.h5ad"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        StoreError, match="folder must be an h5ad file or a zarr store, got a folder without zarr metadata"
    ):
        convert(tmp_path / "c.zarr", [tmp_path / "folder"])
    assert not (tmp_path / "c.zarr").exists()


OTHERS = {
    "anything": (["values"], r"other.h5 must hold an AnnData .* got \['values'\]: `load_adata` may read"),
    "loom": (["matrix", "row_attrs", "col_attrs", "layers"], "got a loom file: pass `load_adata=anndata.io.read_loom`"),
    "10x": (["matrix"], "got a 10x file: pass `load_adata=scanpy.read_10x_h5`"),
    "MuData": (["obs", "var", "mod/rna/X", "mod/atac/X"], r"MuData .*\['atac', 'rna'\]: .*'mod/atac' of `h5py.File"),
}


@pytest.mark.parametrize(("keys", "message"), OTHERS.values(), ids=OTHERS)
def test_files_of_other_programs_are_refused_with_the_way_out(tmp_path: Path, keys: list[str], message: str) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for key in keys:
            file.create_group(key)
    with pytest.raises(StoreError, match=message):
        convert(tmp_path / "c.zarr", [tmp_path / "other.h5"])
    assert not (tmp_path / "c.zarr").exists()


def test_a_truncated_file_is_named(tmp_path: Path, write: Write) -> None:
    path = Path(write(make_counts(0, 200), "0.h5ad"))
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(StoreError, match=r"0\.h5ad cannot be opened as HDF5: damaged or truncated"):
        convert(tmp_path / "c.zarr", [path])


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_other_groups_are_refused(tmp_path: Path, mode: str) -> None:
    for h5ad, message in ((False, "a finished collection, got nothing there"), (True, "a folder with dataset_0.h5ad")):
        with pytest.raises(NotACollectionError, match=rf"c\.zarr must be {message}") as raised:
            DatasetCollection(tmp_path / "c.zarr", mode=mode, is_collection_h5ad=h5ad)
        assert isinstance(raised.value, FileNotFoundError)
    zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3).create_group("something")
    with pytest.raises(
        NotACollectionError, match=r"c\.zarr must be a finished collection, got something else, with something"
    ) as other:
        DatasetCollection(tmp_path / "c.zarr", mode=mode)
    assert not isinstance(other.value, FileNotFoundError)


def test_nothing_is_added_to_other_groups(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    zarr.open_group(tmp_path / "c.zarr", mode="w", zarr_format=3).create_group("something")
    with pytest.raises(NotACollectionError, match="must be empty or a finished collection"):
        convert(tmp_path / "c.zarr", [path])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_obs_per_chunk": 0}, "`n_obs_per_chunk` must be positive, got 0"),
        ({"shard_size": "big"}, "`shard_size` must be a size such as '512MB' or a number of bytes, got 'big'"),
        ({"dataset_size": 0}, "`dataset_size` must be positive, got 0"),
        ({"shuffle_chunk_size": 0}, "`shuffle_chunk_size` must be positive, got 0"),
        ({"layout": "small"}, "`layout` must be 'compact', 'portable' or 'random_access', got 'small'"),
    ],
)
def test_wrong_arguments(tmp_path: Path, write: Write, arguments: dict[str, object], message: str) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "c.zarr", [path], **arguments)


WRONG_INPUTS = {
    "one path": ("a.h5ad", r"a list of inputs, got a path: put it into one, `\[path\]`"),
    "an AnnData": (ad.AnnData(np.eye(2)), "a list of inputs, got an AnnData object: write it with `adata.write_h5ad"),
    "AnnDatas": ([ad.AnnData(np.eye(2))], "a list of paths or open groups, got an AnnData object: write it with"),
    "one group": (zarr.create_group({}), r"a list of inputs, got a group: put it into one, `\[group\]`"),
    "a dict": ({"a": "a.h5ad"}, "a list of inputs, got a dict: give its paths"),
    "a matrix": (np.eye(2), "a list of inputs, got a matrix: make an `anndata.AnnData"),
    "matrices": ([np.eye(2)], "a list of paths or open groups, got a matrix"),
    "numbers": ([3], "a list of paths or open groups, got builtins.int"),
    "None": (None, "a list of inputs, got None"),
}


@pytest.mark.parametrize(("inputs", "message"), WRONG_INPUTS.values(), ids=WRONG_INPUTS)
def test_inputs_of_the_wrong_kind(tmp_path: Path, inputs: object, message: str) -> None:
    with pytest.raises(TypeError, match=f"`adata_paths` must be {message}"):
        convert(tmp_path / "c.zarr", inputs)
    assert not (tmp_path / "c.zarr").exists()


def test_no_inputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`adata_paths` must name at least one input, got none"):
        convert(tmp_path / "c.zarr", [])
    with pytest.raises(StoreError, match=r"s3://bucket/a.zarr must be opened .*`zarr.open_group\(annbatch.RemoteStore"):
        convert(tmp_path / "c.zarr", ["s3://bucket/a.zarr"])


@pytest.mark.parametrize("group", [ad.AnnData(np.eye(2)), zarr.storage.MemoryStore(), ["c.zarr"], None, 3])
def test_a_collection_is_a_path_or_a_group(group: object) -> None:
    with pytest.raises(TypeError, match="`group` must be a path, a URL or a zarr group, got "):
        DatasetCollection(group)


def test_mode_r_adds_nothing(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    convert(tmp_path / "c.zarr", [path])
    with pytest.raises(ValueError, match="was opened with `mode` 'r'"):
        DatasetCollection(tmp_path / "c.zarr", mode="r").add_adatas([path])
