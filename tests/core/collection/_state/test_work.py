"""A call resumes from its own interrupted work, and takes nothing else for it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.cli import main
from annbatch.collection._resources.direct_io import NewFile
from annbatch.collection._state.work import working
from annbatch.errors import CorruptDataError, StoreError

from ..conftest import assert_holds, files, make_counts

Write = Callable[..., str]
BeforeStep = Callable[..., None]


def convert(path: Path, sources: list[object], seed: int = 3, **kwargs: object) -> DatasetCollection:
    return DatasetCollection(path).add_adatas(sources, rng=np.random.default_rng(seed), progress=False, **kwargs)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of 20 rows and two collections of it, in zarr and in h5ad files."""
    folder = tmp_path_factory.mktemp("made")
    make_counts(0, 20).write_h5ad(folder / "0.h5ad")
    convert(folder / "c.zarr", [folder / "0.h5ad"])
    DatasetCollection(folder / "files", is_collection_h5ad=True).add_adatas([folder / "0.h5ad"], progress=False)
    return folder


@pytest.fixture
def collection(made: Path, tmp_path: Path) -> DatasetCollection:
    """A collection of a test's own, in ``c.zarr``."""
    shutil.copytree(made / "c.zarr", tmp_path / "c.zarr")
    return DatasetCollection(tmp_path / "c.zarr")


def test_a_dataset_that_was_copied_is_not_taken_for_a_new_one(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 20) for i in range(2)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    store = tmp_path / "c.zarr"
    collection = convert(store, paths[:1])
    shutil.copytree(store / "dataset_0", store / "dataset_1")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"c\.zarr must hold no datasets but its own, got dataset_1, which"):
            convert(store, paths[1:])
        assert (store / "dataset_1").exists()
    shutil.rmtree(store / "dataset_1")
    convert(store, paths[1:])
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


def test_datasets_of_an_abandoned_call_are_not_taken_for_data(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    paths = [write(make_counts(i, 20), f"{i}.h5ad") for i in range(3)]
    store = tmp_path / "c.zarr"
    collection = convert(store, paths[:1])
    before_step("os.rename", "/c.zarr/.zarr.json.new")
    with pytest.raises(KeyboardInterrupt):
        convert(store, paths[1:2])
    assert (store / "dataset_1").exists()
    shutil.rmtree(store / ".annbatch-work")
    with pytest.raises(StoreError, match="got dataset_1, which was copied there or left by a call that was given up"):
        convert(store, paths[2:])
    assert set(collection.obs()["src_path"]) == set(paths[:1])


def test_a_published_dataset_that_changed_is_not_used(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    path = write(make_counts(0, 20), "0.h5ad")
    store, calm = tmp_path / "c.zarr", convert(tmp_path / "calm.zarr", [path])
    before_step("os.rename", "/c.zarr/.zarr.json.new")
    with pytest.raises(KeyboardInterrupt):
        convert(store, [path])
    (store / "dataset_0" / "zarr.json").write_text("{}")
    with pytest.raises(OSError, match="dataset_0"):
        convert(store, [path])
    assert DatasetCollection(store).is_empty
    shutil.rmtree(store / "dataset_0")
    convert(store, [path])
    assert files(store) == files(tmp_path / "calm.zarr")
    assert calm.verify().ok


def test_another_writer_may_come_between_two_steps_of_a_caller(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    paths = [write(make_counts(i, 20), f"{i}.h5ad") for i in range(2)]
    store = tmp_path / "c.zarr"
    collection = convert(store, paths[:1])
    before_step("os.mkdir", ".annbatch-work", lambda: convert(store, paths[1:]))
    collection.reshuffle(np.random.default_rng(1), progress=False)
    assert set(collection.obs()["src_path"]) == set(paths)


def test_two_first_calls_make_one_collection(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    cells = [make_counts(0, 20), make_counts(1, 20)[:, :10].copy()]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    store = tmp_path / "c.zarr"
    before_step("os.mkdir", ".annbatch-work", lambda: convert(store, paths[:1]))
    collection = convert(store, paths[1:])
    assert [group["X"].attrs["shape"] for group in collection] == [[20, 30], [20, 30]]
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


@pytest.mark.slow
def test_reshuffle_with_another_seed_after_one_that_ended_at_its_last_steps(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    path = write(make_counts(0, 40), "0.h5ad")
    store = tmp_path / "c.zarr"
    collection = convert(store, [path], dataset_size=20)
    before_step("os.rename", "/ready-1")
    before_step("os.remove", "/.annbatch-work/call.json")
    for seed in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            collection.reshuffle(np.random.default_rng(seed), progress=False)
    collection.reshuffle(np.random.default_rng(3), progress=False)
    assert collection.verify().ok
    assert sorted(collection.obs().index) == sorted(f"f0_r{i}" for i in range(40))
    collection.reshuffle(np.random.default_rng(4), progress=False)
    assert [group.basename for group in collection] == ["dataset_4", "dataset_5"]  # no name is used twice


LINKS = {
    "work": ".annbatch-work",
    "lock": ".annbatch-work/lock",
    "spill": ".annbatch-work/spill",
    "partial": ".annbatch-work/partial-0",
    "ready": ".annbatch-work/ready-0",
}


@pytest.mark.parametrize("place", LINKS)
@pytest.mark.parametrize("target", ["folder", "file"])
def test_links_in_the_work_folder_are_not_followed(
    tmp_path: Path, collection: DatasetCollection, place: str, target: str
) -> None:
    store = tmp_path / "c.zarr"
    before, outside = files(store), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("data")
    link = store / LINKS[place]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside if target == "folder" else outside / "precious")
    with pytest.raises(StoreError, match="link"):
        collection.reshuffle(np.random.default_rng(1), progress=False)
    assert files(outside) == {"precious": b"data"}
    link.unlink(missing_ok=True)
    assert files(store) == before
    collection.reshuffle(np.random.default_rng(1), progress=False)
    assert collection.verify().ok


@pytest.mark.parametrize("kind", ["hard link", "pipe"])
def test_a_lock_that_is_no_file_of_its_own(tmp_path: Path, kind: str) -> None:
    precious, lock = tmp_path / "precious", tmp_path / "c.zarr" / ".annbatch-work" / "lock"
    precious.write_text("data")
    lock.parent.mkdir(parents=True)
    os.link(precious, lock) if kind == "hard link" else os.mkfifo(lock)
    with pytest.raises(StoreError, match="lock must be a regular file under one name"), working(tmp_path / "c.zarr"):
        pass
    assert precious.read_text() == "data"


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_new_file_does_not_empty_what_its_name_leads_to(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    precious, part = tmp_path / "precious", tmp_path / "part-0"
    precious.write_text("data")
    link(precious, part)
    NewFile(part, checksums=False).close(flush=False)
    assert precious.read_text() == "data"
    assert part.read_bytes() == b""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders on this platform")
def test_a_pipe_in_the_work_folder_is_not_waited_for(tmp_path: Path, collection: DatasetCollection) -> None:
    work = tmp_path / "c.zarr" / ".annbatch-work"
    work.mkdir()
    os.mkfifo(work / "call.json")
    with pytest.raises(StoreError, match=r"call\.json must not be a pipe or device"):
        collection.reshuffle(np.random.default_rng(1), progress=False)
    shutil.rmtree(work)
    assert collection.verify().ok


def test_the_note_of_a_call_for_h5ad_files_is_of_another_call(tmp_path: Path, collection: DatasetCollection) -> None:
    work = tmp_path / "c.zarr" / ".annbatch-work"
    work.mkdir()
    (work / "call.json").write_text(json.dumps({"call": {}, "seed": 0, "files": ["dataset_0.h5ad"]}))
    collection.reshuffle(np.random.default_rng(1), progress=False)
    assert collection.verify().ok
    assert not work.exists()


def test_a_link_at_the_new_root_metadata_is_replaced(tmp_path: Path, collection: DatasetCollection) -> None:
    store = tmp_path / "c.zarr"
    (tmp_path / "precious").write_text("data")
    (store / ".zarr.json.new").symlink_to(tmp_path / "precious")
    collection.reshuffle(np.random.default_rng(1), progress=False)
    assert (tmp_path / "precious").read_text() == "data"
    assert collection.verify().ok


@pytest.mark.parametrize(
    "note",
    [
        {"files": ["../precious.h5ad"]},
        {"files": ["/tmp/dataset_0.h5ad"]},
        {"files": ["dataset_0/../../dataset_1.h5ad"]},
        {"files": [1]},
        {"publishes": {"../dataset_0": {}}, "n_calls": 1},
        {"publishes": {"dataset_0/..": {}}, "n_calls": 1},
        {"n_calls": "1"},
        {"call": None, "n_calls": 1},
        {},
    ],
)
def test_a_note_that_names_other_files_is_refused(tmp_path: Path, made: Path, note: dict[str, Any]) -> None:
    precious = tmp_path / "precious.h5ad"
    precious.write_text("data")
    for store in (tmp_path / "c.zarr", tmp_path / "files"):
        shutil.copytree(made / store.name, store)
        collection = DatasetCollection(store, is_collection_h5ad=store.name == "files")
        before = files(store)
        work = store / ".annbatch-work"
        work.mkdir()
        (work / "call.json").write_text(json.dumps({"call": {}, "seed": 0} | note))
        with pytest.raises(CorruptDataError, match=r"call\.json must be the note of a call.* delete .*\.annbatch-work"):
            collection.add_adatas([made / "0.h5ad"], progress=False)
        shutil.rmtree(work)
        assert files(store) == before
    assert precious.read_text() == "data"


def test_an_input_that_changes_during_the_survey(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    path = Path(write(make_counts(0, 20), "0.h5ad"))
    before_step("os.mkdir", "/spill", lambda: write(make_counts(1, 20), "0.h5ad"))
    with pytest.raises(StoreError, match=r"0\.h5ad must not change while it is converted, and has changed"):
        convert(tmp_path / "c.zarr", [path])


def as_an_earlier_version_leaves_it(store: Path) -> None:
    """Give a work folder the form that it had when spill files were pickled."""
    work = store / ".annbatch-work"
    note = json.loads((work / "call.json").read_bytes())
    del note["made_by"]
    note["call"]["version"] = "0.4.0.dev0"
    (work / "call.json").write_text(json.dumps(note))
    for index in work.glob("spill/*.index"):
        index.write_bytes(b"cannbatch.collection._shuffle\nPart\n.")  # a pickle that names a class that has moved


def convert_through_files(store: Path, path: Path) -> None:
    convert(store, [path], dataset_size=2000, memory_limit="100kB")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a file of 3,000 rows and its collection, shuffled through files."""
    folder = tmp_path_factory.mktemp("undisturbed")
    make_counts(0, 3000).write_h5ad(folder / "0.h5ad")
    convert_through_files(folder / "c.zarr", folder / "0.h5ad")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("renamed", ["/partial-0", "/partial-1", "/ready-1"])
def test_what_another_version_left_is_discarded(
    tmp_path: Path, undisturbed: Path, before_step: BeforeStep, renamed: str
) -> None:
    store, path = tmp_path / "c.zarr", undisturbed / "0.h5ad"
    before_step("os.rename", renamed)
    with pytest.raises(KeyboardInterrupt):
        convert_through_files(store, path)
    as_an_earlier_version_leaves_it(store)
    assert (store / ".annbatch-work" / "spill" / "part-0.index").exists()
    with pytest.warns(UserWarning, match="was interrupted under another version of annbatch; starting it over"):
        convert_through_files(store, path)
    assert files(store) == files(undisturbed / "c.zarr")


def test_what_another_version_carried_out_is_not_repeated(
    tmp_path: Path, write: Write, before_step: BeforeStep
) -> None:
    path, store = write(make_counts(0, 20), "0.h5ad"), tmp_path / "c.zarr"
    before_step("os.remove", "/.annbatch-work/call.json")
    with pytest.raises(KeyboardInterrupt):
        convert(store, [path])
    as_an_earlier_version_leaves_it(store)
    assert convert(store, [path]).n_obs == 20
    assert not (store / ".annbatch-work").exists()


@pytest.fixture
def in_files(tmp_path: Path) -> Callable[..., DatasetCollection]:
    def convert_one(path: str) -> DatasetCollection:
        collection = DatasetCollection(tmp_path / "files", is_collection_h5ad=True)
        return collection.add_adatas(
            [path], rng=np.random.default_rng(0), dataset_size=1000, memory_limit="100kB", progress=False
        )

    return convert_one


def test_h5ad_files_have_no_rows_of_a_call_that_was_killed(
    tmp_path: Path, write: Write, before_step: BeforeStep, in_files: Callable[[str], DatasetCollection]
) -> None:
    paths = [write(make_counts(i, 3000), f"{i}.h5ad") for i in range(2)]
    work, aside = tmp_path / "files" / ".annbatch-work", tmp_path / "aside"
    before_step("os.rename", "/dataset_0.h5ad", lambda: shutil.copytree(work / "spill", aside))
    in_files(paths[0])
    assert (aside / "part-0.index").exists()
    shutil.rmtree(tmp_path / "files")
    shutil.copytree(aside, work / "spill")  # as after a SIGKILL in the first pass
    names = in_files(paths[1]).obs()
    assert set(names["src_path"]) == {paths[1]}
    assert sorted(names.index) == sorted(f"f1_r{i}" for i in range(3000))
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [f"dataset_{i}.h5ad" for i in range(3)]


@pytest.mark.parametrize("same", [True, False])
def test_h5ad_files_that_appeared_in_part(
    tmp_path: Path, write: Write, before_step: BeforeStep, in_files: Callable[[str], DatasetCollection], same: bool
) -> None:
    paths = [write(make_counts(i, 3000), f"{i}.h5ad") for i in range(2)]
    before_step("os.rename", "/dataset_1.h5ad")
    with pytest.raises(KeyboardInterrupt):
        in_files(paths[0])
    there = [path.name for path in (tmp_path / "files").glob("*.h5ad")]
    assert there == ["dataset_0.h5ad"]
    names = in_files(paths[0 if same else 1]).obs()
    numbers = [0] if same else [0, 1]
    assert sorted(names.index) == sorted(f"f{k}_r{i}" for k in numbers for i in range(3000))
    assert not (tmp_path / "files" / ".annbatch-work").exists()


def test_the_command_resumes_without_a_seed(tmp_path: Path, write: Write, before_step: BeforeStep) -> None:
    store = tmp_path / "c.zarr"
    command = ["convert", write(make_counts(0, 20), "0.h5ad"), str(store)]
    before_step("os.rename", "/c.zarr/.zarr.json.new")
    assert main(command) == 130
    seed = json.loads((store / ".annbatch-work" / "call.json").read_bytes())["seed"]
    assert main(command) == 0
    assert json.loads((store / "zarr.json").read_bytes())["attributes"]["annbatch"]["history"][0]["seed"] == seed


def test_a_relative_path_survives_a_change_of_folder(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write(make_counts(i, 20), f"{i}.h5ad") for i in range(2)]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    collection = convert(Path("c.zarr"), paths[:1])
    monkeypatch.chdir(tmp_path / "elsewhere")
    collection.add_adatas(paths[1:], progress=False)
    assert collection.n_obs == 40
    assert repr(collection).startswith("DatasetCollection at c.zarr, ")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_writer_that_leaves_while_another_one_comes(tmp_path: Path, before_step: BeforeStep) -> None:
    folder = tmp_path / "c.zarr" / ".annbatch-work"
    before_step("open", "/.annbatch-work/lock", lambda: shutil.rmtree(folder))
    with working(tmp_path / "c.zarr"):
        assert (folder / "lock").exists()
    assert not (tmp_path / "c.zarr").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "gone")
    with pytest.raises(
        StoreError, match=r"link\.zarr must be a folder that can be written, got: a link to .*gone, which"
    ):
        convert(tmp_path / "link.zarr", [path])
    with pytest.raises(StoreError, match=r"c\.zarr must be a folder that can be written, got: Not a directory\."):
        convert(tmp_path / "0.h5ad" / "c.zarr", [path])
