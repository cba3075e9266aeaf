from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr
from zarr.storage import MemoryStore

from annbatch import DatasetCollection, Loader
from annbatch.collection._runs.repeats import content_of
from annbatch.errors import CorruptDataError, StoreError

from ..conftest import files, make_counts

Write = Callable[..., str]


def add(store: object, paths: list[object], **how: object) -> DatasetCollection:
    return DatasetCollection(store).add_adatas(paths, progress=False, **how)  # type: ignore[arg-type]


def test_an_input_is_not_added_twice(tmp_path: Path, write: Write) -> None:
    one, other = write(make_counts(0, 20), "one.h5ad"), write(make_counts(1, 30), "other.h5ad")
    store, moved = tmp_path / "c.zarr", tmp_path / "moved.h5ad"
    add(store, [one])
    shutil.copy(one, moved)
    before = files(store)
    for repeat in ([one], [other, moved]):
        with pytest.raises(
            ValueError, match=r"not in the collection yet, got .*: 20 rows of .*one\.h5ad are in .*already"
        ):
            add(store, repeat)
    for copy in (other, shutil.copy(other, tmp_path / "copy.h5ad")):
        rule = rf"got .*{Path(copy).name}: it has the content of .*other\.h5ad, .* before it\. Pass `if_present='skip'`"
        with pytest.raises(ValueError, match=rule):
            add(store, [other, copy])
    assert files(store) == before
    assert add(store, [one, moved], if_present="skip").n_obs == 20
    assert files(store) == before
    assert add(store, [one, other, moved, other], if_present="skip").n_obs == 50
    assert add(store, [moved], if_present="add").n_obs == 70


def test_a_collection_in_a_store_knows_its_inputs(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 20), "0.h5ad")
    group = zarr.open_group(MemoryStore(), mode="w", zarr_format=3)
    add(group, [path])
    with pytest.raises(ValueError, match=r"20 rows of .* are in .* already"):
        add(group, [path])
    assert add(group, [path], if_present="skip").n_obs == 20


def test_a_folder_of_h5ad_files_knows_its_inputs(tmp_path: Path, write: Write) -> None:
    one, other = write(make_counts(0, 20), "one.h5ad"), write(make_counts(1, 30), "other.h5ad")

    def add_files(paths: list[str], **how: object) -> int:
        collection = DatasetCollection(tmp_path / "files", is_collection_h5ad=True)
        return collection.add_adatas(paths, progress=False, **how).n_obs  # type: ignore[arg-type]

    assert add_files([one]) == 20
    before = files(tmp_path / "files")
    with pytest.raises(ValueError, match=r"20 rows of .*one\.h5ad are in .*files already"):
        add_files([one, other])
    assert files(tmp_path / "files") == before
    assert add_files([one], if_present="skip") == 20
    assert files(tmp_path / "files") == before
    assert add_files([one, other], if_present="skip") == 50
    assert add_files([one], if_present="add") == 70


@pytest.mark.parametrize(
    "record", ["{", "[1]", '{"contents": 1}', '{"contents": [[1, 2]], "inputs": [], "n_obs_each": []}']
)
def test_a_damaged_record_is_named(tmp_path: Path, write: Write, record: str) -> None:
    collection = DatasetCollection(tmp_path / "files", is_collection_h5ad=True)
    collection.add_adatas([write(make_counts(0, 20), "0.h5ad")], progress=False)
    with h5py.File(tmp_path / "files" / "dataset_0.h5ad", "r+") as file:
        file.attrs["annbatch"] = record
    with pytest.raises(CorruptDataError, match=r"(dataset_0\.h5ad|The history of .*files) cannot be read"):
        collection.add_adatas([write(make_counts(1, 20), "1.h5ad")], progress=False)


def test_a_value_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`if_present` must be 'error', 'skip' or 'add', got 'ignore'"):
        add(tmp_path / "c.zarr", ["0.h5ad"], if_present="ignore")


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data:UserWarning")  # anndata 0.12: its next version writes v3
def test_what_an_input_is_known_by(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 3000)
    path = Path(write(cells, "0.h5ad"))
    known = content_of(path, None)
    assert known == content_of(str(path), None)
    assert known != content_of(path, ad.read_h5ad)
    assert content_of(path, lambda p: ad.read_h5ad(p)[:10]) != content_of(path, lambda p: ad.read_h5ad(p)[10:])
    assert len({tuple(content_of(path, lambda p, table=table: (p, table))) for table in (object(), object())}) == 1
    with h5py.File(path) as file:
        assert content_of(file, None) != content_of(file["obs"], None)
    cells.write_zarr(tmp_path / "0.zarr")
    stored = content_of(tmp_path / "0.zarr", None)
    assert stored == content_of(zarr.open_group(tmp_path / "0.zarr", mode="r"), None)
    cells.X.data[:] += 1
    assert content_of(write(cells, "1.h5ad"), None) != known
    cells.write_zarr(tmp_path / "1.zarr")
    assert content_of(tmp_path / "1.zarr", None) != stored
    assert len(np.unique([content_of(p, None) for p in (tmp_path / "none", tmp_path / "other")], axis=0)) == 2


def test_the_root_of_an_open_file_is_the_file(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 5), "0.h5ad")
    add(tmp_path / "c.zarr", [path])
    with h5py.File(path) as file, pytest.raises(ValueError, match=r"5 rows of .*0\.h5ad are in .* already"):
        add(tmp_path / "c.zarr", [file])


def test_a_collection_is_no_input_of_its_own(tmp_path: Path, write: Write) -> None:
    store = tmp_path / "c.zarr"
    collection = add(store, [write(make_counts(0, 5), "0.h5ad")])
    before = files(store)
    (tmp_path / "link").symlink_to(store)
    for own in (store / "dataset_0", tmp_path / "link/dataset_0", next(iter(collection))):
        with pytest.raises(ValueError, match="must not name datasets of the collection that they are added to, got"):
            add(store, [own])
    assert files(store) == before
    with pytest.warns(UserWarning, match="'src_path' of `obs` is replaced"):
        assert add(store, [store / "dataset_0"], overwrite=True).n_obs == 5


def test_no_collection_is_written_into_an_input(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 5), "0.zarr")
    before = files(Path(path))
    with pytest.raises(ValueError, match=r"`group` must not be in an input, got .*0\.zarr/c in .*0\.zarr"):
        add(Path(path) / "c", [path])
    assert files(Path(path)) == before


def test_a_folder_that_is_no_store_is_refused_before_its_files_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "home/deep").mkdir(parents=True)
    (tmp_path / "home/deep").chmod(0)  # to list it would fail
    with pytest.raises(StoreError, match="must be an h5ad file or a zarr store, got a folder without zarr metadata"):
        add(tmp_path / "c.zarr", [tmp_path / "home"])
    assert not (tmp_path / "c.zarr").exists()


def test_the_name_of_a_file_may_hold_bytes_that_are_no_text(tmp_path: Path, write: Write) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff.h5ad"
    Path(write(make_counts(0, 5), "0.h5ad")).rename(os.fsdecode(odd))
    collection = add(tmp_path / "c.zarr", [os.fsdecode(odd)])
    assert set(collection.obs("src_path")["src_path"]) == {f"{tmp_path}/\\udcff.h5ad"}


@pytest.mark.parametrize("place", ["", "a\0b"])
def test_what_is_no_path_is_refused(tmp_path: Path, place: str) -> None:
    for call, name in (
        (lambda: DatasetCollection(place), "group"),
        (lambda: add(tmp_path / "c.zarr", [place]), "adata_paths"),
        (lambda: Loader().add_adata(place), "adata"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be a path or a URL, got "):
            call()
