"""Adding to a collection, reshuffling it, and finding what is damaged."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import DatasetCollection, Loader
from annbatch.collection._state.work import working
from annbatch.errors import NotACollectionError, StoreError

from ..conftest import GENES, assert_holds, files, make_cells, make_counts, read, values

Write = Callable[..., str]


def convert(path: Path, sources: list[object], seed: int = 3, **kwargs: object) -> DatasetCollection:
    return DatasetCollection(path).add_adatas(sources, rng=np.random.default_rng(seed), progress=False, **kwargs)


def test_adding_leaves_old_datasets_alone(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, n) for i, n in enumerate([20, 12, 30])]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths[:2], dataset_size=20)
    before = {name: content for name, content in files(tmp_path / "c.zarr").items() if name.startswith("dataset_")}
    convert(tmp_path / "c.zarr", paths[2:], dataset_size=20)
    after = files(tmp_path / "c.zarr")
    assert {name: after[name] for name in before} == before
    assert [group.basename for group in collection] == ["dataset_0", "dataset_1", "dataset_2", "dataset_3"]
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert collection.obs()["src_path"].dtype == "category"
    assert list(collection.obs()["label"].cat.categories) == ["B", "NK", "T"]
    assert collection.verify().ok


def test_new_rows_have_the_genes_of_the_collection(tmp_path: Path, write: Write) -> None:
    first, second = make_counts(0, 10, genes=GENES[:10]), make_counts(1, 10, genes=["x", *GENES[5:12][::-1], "y"])
    paths = [write(first, "0.h5ad"), write(second, "1.h5ad")]
    collection = convert(tmp_path / "c.zarr", paths[:1])
    with pytest.warns(UserWarning, match=r"Dropping 4 variables of the inputs .*: \['gene10', 'gene11'"):
        convert(tmp_path / "c.zarr", paths[1:], shuffle=False)
    assert list(collection.var_names) == GENES[:10]
    part = read(collection)[1]
    expected = np.zeros((10, 10), np.float32)
    expected[:, 5:] = second[:, GENES[5:10]].X.toarray()
    assert np.array_equal(part.X.toarray(), expected)
    assert list(part.var_names) == GENES[:10]


def test_names_stay_unique_when_adding(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 4), "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path])
    convert(tmp_path / "c.zarr", [path], seed=4, shuffle=False, if_present="add")
    assert sorted(collection.obs().index[4:]) == [f"f0_r{i}-1" for i in range(4)]


def test_elements_of_the_collection_are_filled_in(tmp_path: Path, write: Write) -> None:
    full, bare = make_cells(0, 6), make_cells(1, 6)
    del bare.layers["twice"], bare.obsm["pca"], bare.obs["word"]
    collection = convert(tmp_path / "c.zarr", [write(full, "0.h5ad")])
    with pytest.warns(UserWarning, match="Not in all inputs"):
        convert(tmp_path / "c.zarr", [write(bare, "1.h5ad")])
    part = read(collection)[1]
    assert part.layers["twice"].nnz == 0
    assert np.isnan(part.obsm["pca"]).all()
    assert part.obs["word"].isna().all()


def load(collection: DatasetCollection, **options: object) -> dict[str, Any]:
    """Return all rows of a collection as one batch: its datasets must fit each other."""
    n = collection.n_obs
    return next(iter(Loader(batch_size=n, chunk_size=n, preload_nchunks=1, **options).use_collection(collection)))


def test_what_the_collection_does_not_have_is_dropped_with_a_warning(tmp_path: Path, write: Write) -> None:
    bare, full = make_cells(0, 6), make_cells(1, 6)
    del bare.layers["twice"], bare.obsm["pca"], bare.obs["word"], bare.obsm["table"]["v"]
    collection = convert(tmp_path / "c.zarr", [write(bare, "0.h5ad")])
    message = r"Dropping what the collection does not have: .*obs\['word'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        convert(tmp_path / "c.zarr", [write(full, "1.h5ad")], shuffle=False)
    assert all(name in str(caught[0].message) for name in ("layers/twice", "obsm/pca", "obsm/table['v']"))
    batch = load(collection, keys=("X", "obs", "obsm/table", "obsm/image"))
    assert np.array_equal(batch["X"].toarray()[6:], full.X.toarray())
    assert collection.verify().ok


def test_sparse_rows_do_not_fit_into_a_dense_collection(tmp_path: Path, write: Write) -> None:
    paths = [write(make_cells(i, 6, kind=kind), f"{i}.h5ad") for i, kind in enumerate(["dense", "csr"])]
    collection = convert(tmp_path / "c.zarr", paths[:1])
    before = files(tmp_path / "c.zarr")
    with pytest.raises(StoreError, match=r"`X` must be dense as in the collection, and is sparse in .*1\.h5ad"):
        convert(tmp_path / "c.zarr", paths[1:])
    assert files(tmp_path / "c.zarr") == before
    other = convert(tmp_path / "d.zarr", paths[1:])
    convert(tmp_path / "d.zarr", paths[:1])  # dense rows become sparse
    assert len(load(other)["obs"]) == len(load(collection)["obs"]) + 6 == 12


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pd.Categorical(["a", "b", "a"]), ["b", "c", "c"]),
        ([1, 2, 3], [0.5, 1.5, np.nan]),
        ([True, False, True], pd.array([True, None, False], dtype="boolean")),
    ],
    ids=["categories and words", "integers and floats", "booleans and missing ones"],
)
def test_columns_of_other_types_are_read_together(tmp_path: Path, write: Write, first: Any, second: Any) -> None:
    for number, column in enumerate((first, second)):
        cells = make_counts(number, 3)
        cells.obs["label"] = column
        path = write(cells, f"{number}.h5ad", convert_strings_to_categoricals=False)
        collection = convert(tmp_path / "c.zarr", [path], shuffle=False)
    assert values(load(collection, keys="obs")["obs"]["label"]) == values(pd.Series([*first, *second]))


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", ["4GB", "1MB"])
def test_reshuffle(tmp_path: Path, write: Write, memory_limit: str) -> None:
    cells = [make_cells(i, n) for i, n in enumerate([40, 25])]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths[:1], shuffle=False, n_obs_per_chunk=4, shard_size=8)
    convert(tmp_path / "c.zarr", paths[1:], shuffle=False, dataset_size=40)
    before = collection.obs().index.tolist()
    collection.reshuffle(np.random.default_rng(1), memory_limit=memory_limit, progress=False)
    assert [group.basename for group in collection] == ["dataset_2", "dataset_3"]
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    after = collection.obs().index.tolist()
    assert sorted(after) == sorted(before)
    assert len(set(after[:40]) & set(before[:40])) < 40  # rows of both calls are in both datasets
    assert next(iter(collection))["X"].attrs["annbatch-dtype"] == "float32"
    assert collection.verify().ok
    assert not (tmp_path / "c.zarr" / ".annbatch-work").exists()


def test_a_reshuffle_keeps_the_size_of_datasets(tmp_path: Path, write: Write) -> None:
    paths = [write(make_counts(i, 20), f"{i}.h5ad") for i in range(3)]
    collection = convert(tmp_path / "c.zarr", paths[:1], dataset_size=30)
    for path in paths[1:]:
        convert(tmp_path / "c.zarr", [path], dataset_size=30)
    assert len(collection) == 3
    collection.reshuffle(np.random.default_rng(1), progress=False)
    assert [group["obs/_index"].shape[0] for group in collection] == [30, 30]


def test_reshuffle_refuses(tmp_path: Path, write: Write) -> None:
    with pytest.raises(ValueError, match=r"c\.zarr must have rows to shuffle, and is empty"):
        DatasetCollection(tmp_path / "c.zarr").reshuffle()
    convert(tmp_path / "c.zarr", [write(make_counts(0, 3), "0.h5ad")])
    with pytest.raises(ValueError, match="was opened with `mode` 'r'"):
        DatasetCollection(tmp_path / "c.zarr", mode="r").reshuffle()


@pytest.mark.slow
def test_more_memory_or_less_gives_the_same_bytes(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(i, n, genes=GENES[i : 20 + i]) for i, n in enumerate([300, 1, 150])]
    cells[2].X.data[0] = 1000
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    for limit in ("4GB", "200kB", "1MB"):
        convert(tmp_path / f"{limit}.zarr", paths, dataset_size=300, memory_limit=limit)
    assert files(tmp_path / "200kB.zarr") == files(tmp_path / "4GB.zarr") == files(tmp_path / "1MB.zarr")
    assert_holds(DatasetCollection(tmp_path / "200kB.zarr"), dict(zip(paths, cells, strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groupby", "memory_limit"),
    [
        ("label", "4GB"),
        ("label", "200kB"),
        (["label", "good"], "200kB"),
        (["age"], "200kB"),
        (["word", "label"], "4GB"),
    ],
)
def test_groups_are_contiguous_within_datasets(
    tmp_path: Path, write: Write, memory_limit: str, groupby: str | list[str]
) -> None:
    cells = [make_cells(i, 60) for i in range(2)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, groupby=groupby, dataset_size=70, memory_limit=memory_limit)
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    columns = [groupby] if isinstance(groupby, str) else groupby
    for part in read(collection):
        by = part.obs[columns].reset_index(drop=True)
        assert by.sort_values(columns, kind="stable").index.tolist() == list(range(len(by)))


def test_groupby_needs_its_columns(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(i, 3) for i in range(2)]
    del cells[1].obs["word"]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    with pytest.raises(ValueError, match="`groupby` must name columns that `obs` has in all inputs, got 'nothing'"):
        convert(tmp_path / "c.zarr", paths[:1], groupby="nothing")
    with (
        pytest.warns(UserWarning, match="Not in all inputs"),
        pytest.raises(ValueError, match=r"got 'word', not in .*1\.h5ad"),
    ):
        convert(tmp_path / "c.zarr", paths, groupby="word")
    with pytest.raises(ValueError, match="`groupby` must name columns of `obs`, each once"):
        convert(tmp_path / "c.zarr", paths, groupby=["good", "good"])


def test_two_writers_at_once(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    convert(tmp_path / "c.zarr", [path])
    with (
        working(tmp_path / "c.zarr"),
        pytest.raises(StoreError, match=r"must have one writer at a time, and process \d+ on"),
    ):
        convert(tmp_path / "c.zarr", [path])
    assert DatasetCollection(tmp_path / "c.zarr").verify().ok
    assert not (tmp_path / "c.zarr" / ".annbatch-work").exists()


def test_too_little_disk_space_is_an_error_before_any_work(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(make_counts(0, 300), "0.h5ad")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreError, match=r"c\.zarr needs about .*kB of free disk space, got 1\.0 kB"):
        convert(tmp_path / "c.zarr", [path], memory_limit="200kB")


def test_an_input_that_is_truncated_during_the_call(tmp_path: Path, write: Write) -> None:
    good, bad = write(make_counts(0, 5), "good.h5ad"), Path(write(make_counts(1, 4000), "bad.h5ad"))
    collection = convert(tmp_path / "c.zarr", [good])
    before = files(tmp_path / "c.zarr")
    content = bad.read_bytes()

    def load(path: str) -> ad.AnnData:
        bad.write_bytes(content[: len(content) // 2])
        return ad.read_h5ad(path)

    with pytest.raises(OSError, match="truncated"):
        convert(tmp_path / "c.zarr", [bad], load_adata=load)
    assert files(tmp_path / "c.zarr") == before
    assert collection.verify().ok


def test_an_input_that_changes_during_the_call(tmp_path: Path, write: Write) -> None:
    path = Path(write(make_counts(0, 5), "0.h5ad"))
    calls = []

    def load(given: str) -> ad.AnnData:
        calls.append(given)
        adata = ad.read_h5ad(given)
        if len(calls) == 2:  # the first look at the inputs is over
            path.write_bytes(path.read_bytes() + b" ")
        return adata

    with pytest.raises(StoreError, match=r"0\.h5ad must not change while it is converted, and has changed"):
        convert(tmp_path / "c.zarr", [path], load_adata=load)
    assert DatasetCollection(tmp_path / "c.zarr").is_empty


@pytest.mark.slow
def test_verify_finds_any_flipped_byte(tmp_path: Path, write: Write) -> None:
    store = tmp_path / "c.zarr"
    cells = make_counts(0, 30, ill=pd.array([True, None] * 15, dtype="boolean"))
    cells.obsm["pca"] = cells.X.toarray()
    collection = convert(store, [write(cells, "0.h5ad")], dataset_size=20)
    report = collection.verify()
    assert report
    assert (report.n_obs, report.n_datasets) == (30, 2)
    assert report.n_files == len(files(store))
    rng = np.random.default_rng(0)
    for name, content in files(store).items():
        if content:
            at = int(rng.integers(len(content)))
            damaged = bytearray(content)
            damaged[at] ^= 1 << int(rng.integers(8))
            (store / name).write_bytes(damaged)
            report = collection.verify()
            assert len(report.problems) == 1
            assert report.problems[0].startswith(f"{name}: ")
            (store / name).write_bytes(content)
    assert collection.verify().ok


def test_verify_finds_missing_longer_and_additional_files(tmp_path: Path, write: Write) -> None:
    store = tmp_path / "c.zarr"
    collection = convert(store, [write(make_counts(0, 30), "0.h5ad")])
    name = store / "dataset_0" / "X" / "data" / "c" / "0"
    content = name.read_bytes()
    name.write_bytes(content + b"x")
    assert f"dataset_0/X/data/c/0: must have {len(content)} bytes, has {len(content) + 1}" in str(collection.verify())
    name.unlink()
    assert "dataset_0/X/data/c/0: is missing" in str(collection.verify())
    name.write_bytes(content)
    (store / "dataset_0" / "more").write_bytes(b"")
    assert collection.verify().problems == ["dataset_0/more: does not belong to the collection"]
    (store / "dataset_0" / "more").unlink()
    (store / "notes.txt").write_text("")
    shutil.copytree(store / "dataset_0", store / "dataset_9")
    strays = ["dataset_9: does not belong to the collection", "notes.txt: does not belong to the collection"]
    assert collection.verify().problems == strays
    (store / "notes.txt").unlink()
    shutil.rmtree(store / "dataset_9")
    name.unlink()
    name.mkdir()
    assert collection.verify().problems == ["dataset_0/X/data/c/0: cannot be read: not a regular file"]
    shutil.rmtree(store / "dataset_0")
    assert collection.verify().problems == ["dataset_0/zarr.json: is missing"]


def test_verify_names_datasets_without_checksums(tmp_path: Path, write: Write) -> None:
    store = tmp_path / "c.zarr"
    collection = convert(store, [write(make_cells(0, 5), "0.h5ad")])
    root = json.loads((store / "zarr.json").read_bytes())
    del root["attributes"]["annbatch"]
    (store / "zarr.json").write_text(json.dumps(root))
    # The dataset still has it, so that no other program wrote this.
    assert collection.verify().problems == ["zarr.json: is damaged: it lacks 'annbatch', which dataset_0/zarr.json has"]
    dataset = json.loads((store / "dataset_0" / "zarr.json").read_bytes())
    del dataset["attributes"]["annbatch"]  # as another program writes it
    (store / "dataset_0" / "zarr.json").write_text(json.dumps(dataset))
    report = collection.verify()
    assert report.ok
    assert report.unchecked == ["dataset_0"]
    assert "without checksums: dataset_0" in str(report)
    with pytest.warns(UserWarning, match="Not in all inputs"):
        convert(store, [write(make_counts(1, 4), "1.h5ad")])
    report = collection.verify()
    assert report.ok
    assert (report.n_obs, report.n_datasets, report.unchecked) == (4, 2, ["dataset_0"])


def test_verify_finds_flips_in_the_root_metadata(tmp_path: Path, write: Write) -> None:
    store = tmp_path / "c.zarr"
    convert(store, [write(make_counts(0, 5), "\u00f6.h5ad")])
    content = (store / "zarr.json").read_bytes()
    for one, other in ((rb"\u00f6", rb"\u00F6"), (b"  ", b" \n")):  # which mean the same
        assert one in content
        (store / "zarr.json").write_bytes(content.replace(one, other, 1))
        assert DatasetCollection(store).verify().problems == ["zarr.json: its checksum does not match"]
    for word in (b'"annbatch":', b'"encoding-type"', b"annbatch-preshuffled", b'"datasets"', b'"attributes"'):
        start = content.index(word)
        for at in range(start, start + len(word)):
            damaged = bytearray(content)
            damaged[at] ^= 1 << (at % 8)
            (store / "zarr.json").write_bytes(damaged)
            report = DatasetCollection(store).verify()
            assert len(report.problems) == 1
            assert report.problems[0].startswith("zarr.json: ")
    (store / "zarr.json").unlink()
    assert DatasetCollection(store).verify().problems == ["zarr.json: is missing"]


def test_verify_refuses_what_was_never_a_collection(tmp_path: Path, write: Write) -> None:
    for path in (tmp_path / "nothing", write(make_counts(0, 3), "0.h5ad"), write(make_counts(0, 3), "0.zarr")):
        with pytest.raises(NotACollectionError, match="must be a finished collection to be verified"):
            DatasetCollection(path).verify()


@pytest.mark.parametrize("memory_limit", ["4GB", "200kB"])
def test_datasets_as_h5ad_files(tmp_path: Path, write: Write, memory_limit: str) -> None:
    cells = [make_cells(i, n) for i, n in enumerate([50, 30, 20])]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = DatasetCollection(tmp_path / "files", is_collection_h5ad=True)
    assert collection.is_empty
    arguments = {"rng": np.random.default_rng(0), "memory_limit": memory_limit, "progress": False}
    collection.add_adatas(paths[:2], dataset_size=50, **arguments)
    collection.add_adatas(paths[2:], dataset_size=50, **arguments)
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == [f"dataset_{i}.h5ad" for i in range(3)]
    again = DatasetCollection(tmp_path / "files", mode="r", is_collection_h5ad=True)
    assert repr(again).endswith("files, 100 rows in 3 h5ad files")
    assert (len(again), again.n_obs, again.n_vars) == (3, 100, 30)
    parts = [ad.read_h5ad(tmp_path / "files" / f"dataset_{i}.h5ad") for i in range(3)]
    assert again.obs().index.tolist() == [name for part in parts for name in part.obs_names]
    assert set(parts[0].obs["src_path"]) == set(paths[:2])
    for part in parts:
        assert part.X.dtype == np.float32
        for path, one in zip(paths, cells, strict=True):
            mine = part[(part.obs["src_path"] == path).to_numpy()]
            source = one[mine.obs_names]
            assert np.array_equal(mine.X.toarray(), source.X.toarray())
            assert np.array_equal(mine.obsm["image"], source.obsm["image"])
            assert mine.obs["word"].tolist() == source.obs["word"].tolist()
            assert mine.obsm["table"]["v"].tolist() == source.obsm["table"]["v"].tolist()
    with pytest.raises(ValueError, match="holds h5ad files, not zarr groups"):
        list(again)


def test_h5ad_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotACollectionError, match=r"files must be a folder with dataset_0\.h5ad, got none"):
        DatasetCollection(tmp_path / "files", mode="r", is_collection_h5ad=True)
    group = zarr.open_group(tmp_path / "c.zarr", mode="w")
    with pytest.raises(ValueError, match="`group` must be a path where `is_collection_h5ad` is True"):
        DatasetCollection(group, is_collection_h5ad=True)


def test_a_client_needs_a_folder(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    with pytest.raises(ValueError, match=r"`client` needs a zarr store in a folder .*files, a folder of h5ad files"):
        DatasetCollection(tmp_path / "files", is_collection_h5ad=True).add_adatas(
            [path], client=SimpleNamespace(scatter=None)
        )
    group = zarr.group(zarr.storage.MemoryStore(), zarr_format=3)
    with pytest.raises(ValueError, match=r"`client` needs a zarr store in a folder .*no local folder"):
        DatasetCollection(group).add_adatas([path], client=SimpleNamespace(scatter=None))


def test_a_store_in_memory_is_shuffled_through_a_temporary_folder(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = write(make_counts(0, 3000), "0.h5ad")
    group = zarr.group(zarr.storage.MemoryStore(), zarr_format=3)
    collection = DatasetCollection(group).add_adatas([path], memory_limit="100kB")
    assert collection.n_obs == 3000
    assert list((tmp_path / "temporary").iterdir()) == []
    printed = capsys.readouterr().out
    assert "3,000 rows: " in printed
    assert f"at most to shuffle through {tmp_path / 'temporary'}" in printed
    assert "; about 1 s." in printed
