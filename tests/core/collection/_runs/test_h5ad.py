"""A call for h5ad files that was interrupted resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.errors import CorruptDataError, StoreError

from ..conftest import files, make_counts

Write = Callable[..., str]
BeforeStep = Callable[..., None]


def convert(folder: Path, paths: list[str], **how: object) -> DatasetCollection:
    how = {"dataset_size": 40, "rng": np.random.default_rng(3)} | how
    return DatasetCollection(folder, is_collection_h5ad=True).add_adatas(paths, progress=False, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("memory_limit", ["4GB", "10kB"])
def test_files_that_were_complete_are_not_written_again(
    tmp_path: Path, write: Write, before_step: BeforeStep, memory_limit: str
) -> None:
    paths, store = [write(make_counts(0, 100), "0.h5ad")], tmp_path / "files"
    convert(tmp_path / "calm", paths, memory_limit=memory_limit)
    work = store / ".annbatch-work"
    before_step("os.rename", "partial.h5ad", lambda: before_step("os.rename", "partial.h5ad"))
    with pytest.raises(KeyboardInterrupt):
        convert(store, paths, memory_limit=memory_limit)
    assert sorted(path.name for path in work.glob("*.h5ad")) == ["dataset_0.h5ad", "partial.h5ad"]
    written = (work / "dataset_0.h5ad").stat().st_ino
    convert(store, paths, memory_limit=memory_limit)
    assert (store / "dataset_0.h5ad").stat().st_ino == written
    assert files(store) == files(tmp_path / "calm")


def test_another_call_starts_over(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    paths, store = [write(make_counts(0, 100), "0.h5ad")], tmp_path / "files"
    for how in ({"h5ad_compressor": None}, {"rng": np.random.default_rng(4)}):
        before_step("os.rename", "partial.h5ad", lambda: before_step("os.rename", "partial.h5ad"))
        with pytest.raises(KeyboardInterrupt):
            convert(store, paths, **how)
    convert(store, paths)
    convert(tmp_path / "calm", paths)
    assert files(store) == files(tmp_path / "calm")


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    paths, store = [write(make_counts(0, 100), "0.h5ad")], tmp_path / "files"
    before_step("os.rename", ".annbatch-work/dataset_1.h5ad")
    with pytest.raises(KeyboardInterrupt):
        convert(store, paths)
    assert (store / "dataset_0.h5ad").exists()
    make_counts(1, 7).write_h5ad(store / "dataset_1.h5ad")
    with pytest.raises(StoreError, match=r"dataset_1\.h5ad must not be there"):
        convert(store, paths)
    assert ad.read_h5ad(store / "dataset_1.h5ad").n_obs == 7
    (store / "dataset_1.h5ad").unlink()
    convert(store, paths)
    convert(tmp_path / "calm", paths)
    assert files(store) == files(tmp_path / "calm")


def test_strings_that_hdf5_cannot_hold_are_named(tmp_path: Path) -> None:
    adata = make_counts(0, 10)
    adata.obs["note"] = [f"{i}\x00" for i in range(10)]
    with pytest.raises(StoreError, match=r"dataset_0\.h5ad cannot hold these rows: .* NULLs.*obs") as caught:
        DatasetCollection(tmp_path / "files", is_collection_h5ad=True).add_adatas(
            [tmp_path / "any"], load_adata=lambda path: adata, progress=False
        )
    assert "note" in str(caught.value)


def test_a_damaged_file_is_named(tmp_path: Path, write: Write) -> None:
    collection = convert(tmp_path / "files", [write(make_counts(0, 10), "0.h5ad")])
    with h5py.File(tmp_path / "files/dataset_0.h5ad", "r+") as file:
        del file["obs"]
        file["obs"] = h5py.SoftLink("/nowhere")
    with pytest.raises(CorruptDataError, match=r"files/dataset_0\.h5ad cannot be read, KeyError"):
        collection.obs()
