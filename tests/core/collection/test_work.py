"""What a call finds that another one left, or the user put there: taken up where it is its own, and nowhere else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.errors import StoreError

from .conftest import assert_holds, files, make_counts

Write = Callable[..., str]
BeforeStep = Callable[..., None]


def convert(path: Path, sources: list[object], seed: int = 3, **kwargs: object) -> DatasetCollection:
    return DatasetCollection(path).add_adatas(sources, rng=np.random.default_rng(seed), progress=False, **kwargs)


def test_a_dataset_that_was_copied_is_not_taken_for_a_new_one(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 20) for i in range(2)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    home = tmp_path / "c.zarr"
    collection = convert(home, paths[:1])
    shutil.copytree(home / "dataset_0", home / "dataset_1")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"c\.zarr must hold no datasets but its own, got dataset_1, which"):
            convert(home, paths[1:])
        assert (home / "dataset_1").exists()
    shutil.rmtree(home / "dataset_1")
    convert(home, paths[1:])
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


def test_what_a_call_that_was_given_up_had_published_is_not_taken_for_data(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    paths = [write(make_counts(i, 20), f"{i}.h5ad") for i in range(3)]
    home = tmp_path / "c.zarr"
    collection = convert(home, paths[:1])
    before_step("os.rename", "/c.zarr/.zarr.json.new")
    with pytest.raises(KeyboardInterrupt):
        convert(home, paths[1:2])
    assert (home / "dataset_1").exists()
    shutil.rmtree(home / ".annbatch-work")
    with pytest.raises(StoreError, match="got dataset_1, which was copied there or left by a call that was given up"):
        convert(home, paths[2:])
    assert set(collection.obs()["src_path"]) == set(paths[:1])


def test_a_published_dataset_that_changed_is_not_taken_up(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    path = write(make_counts(0, 20), "0.h5ad")
    home, calm = tmp_path / "c.zarr", convert(tmp_path / "calm.zarr", [path])
    before_step("os.rename", "/c.zarr/.zarr.json.new")
    with pytest.raises(KeyboardInterrupt):
        convert(home, [path])
    (home / "dataset_0" / "zarr.json").write_text("{}")
    with pytest.raises(OSError, match="dataset_0"):
        convert(home, [path])
    assert DatasetCollection(home).is_empty
    shutil.rmtree(home / "dataset_0")
    convert(home, [path])
    assert files(home) == files(tmp_path / "calm.zarr")
    assert calm.verify().ok
