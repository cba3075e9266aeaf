"""Annotations of rows: what pandas gathers from all of them, from memory and from disk."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import read_elem, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch._obs import MemoryFrame, ObsTable, StoredFrame
from annbatch._plan import rows_by_dataset

SIZES = [7, 0, 1, 12]


def frame(seed: int, n: int) -> pd.DataFrame:
    """Return a column of every sort."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "type": pd.Categorical(rng.choice(list("abc"), n), categories=list("abc")),
            "grade": pd.Categorical(rng.choice(["lo", "hi"], n), categories=["lo", "hi"], ordered=True),
            "gaps": pd.Categorical(np.where(rng.random(n) < 0.5, None, "x"), categories=["x", "y"]),
            "n": rng.integers(-5, 5, n),
            "small": rng.integers(0, 200, n).astype("u1"),
            "x": rng.normal(size=n).astype("f4"),
            "nan": np.where(rng.random(n) < 0.5, np.nan, 1.0),
            "flag": rng.random(n) < 0.5,
            "name": np.array([f"s{i}" for i in rng.integers(0, 9, n)], dtype=object),
            "maybe": pd.array(np.where(rng.random(n) < 0.3, None, 3), dtype="Int32"),
            "perhaps": pd.array(np.where(rng.random(n) < 0.3, None, True), dtype="boolean"),
        },
        index=pd.Index([f"cell{seed}-{i}" for i in range(n)], dtype=object),
    )


STARTS = np.concatenate([[0], np.cumsum(SIZES)])
FRAMES = [frame(0, sum(SIZES)).iloc[a:b] for a, b in pairwise(STARTS)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> list[zarr.Group]:
    root = zarr.open_group(tmp_path_factory.mktemp("obs"), mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        for i, one in enumerate(FRAMES):
            write_elem(root, str(i), one)
    return [root[str(i)] for i in range(len(FRAMES))]


def gather(table: ObsTable, rows: list[int]) -> pd.DataFrame:
    return table.frame(rows_by_dataset(np.array(rows, dtype=np.int64), STARTS), len(rows)).batch(0, len(rows))


ROWS = st.lists(st.integers(0, sum(SIZES) - 1), min_size=1, max_size=25)


@given(ROWS)
def test_rows_in_memory_come_as_pandas_has_them(rows):
    pd.testing.assert_frame_equal(
        gather(ObsTable([MemoryFrame(f) for f in FRAMES]), rows), pd.concat(FRAMES).iloc[rows]
    )


@pytest.fixture(scope="module")
def tables(stored) -> dict[str, ObsTable]:
    """Return the columns that arrays are made of, from memory and from disk."""
    columns = ["type", "gaps", "n", "x", "flag"]
    return {
        "memory": ObsTable([MemoryFrame(f) for f in FRAMES], columns),
        "disk": ObsTable([StoredFrame(group) for group in stored], columns),
    }


@settings(max_examples=10)
@given(ROWS)
def test_rows_on_disk_come_as_anndata_reads_them(stored, rows):
    expected = pd.concat([read_elem(group) for group in stored]).iloc[rows]
    pd.testing.assert_frame_equal(gather(ObsTable([StoredFrame(group) for group in stored]), rows), expected)


@given(ROWS, st.sampled_from(["memory", "disk"]))
def test_arrays_hold_codes_and_numbers(tables, rows, kind):
    found = tables[kind].arrays(rows_by_dataset(np.array(rows, dtype=np.int64), STARTS), len(rows)).batch(0, len(rows))
    expected = pd.concat(FRAMES).iloc[rows]
    assert list(found) == tables[kind].columns
    for name in found:
        wanted = expected[name].cat.codes if name in ("type", "gaps") else expected[name]
        assert found[name].dtype == wanted.dtype
        np.testing.assert_array_equal(found[name], wanted)


def test_batches_are_slices_of_the_window():
    shares = rows_by_dataset(np.array([15, 3, 3, 0, 19]), STARTS)
    table = ObsTable([MemoryFrame(f) for f in FRAMES])
    expected = pd.concat(FRAMES).iloc[[15, 3, 3, 0, 19]]
    window = table.frame(shares, 5)
    pd.testing.assert_frame_equal(window.batch(1, 4), expected.iloc[1:4])
    pd.testing.assert_frame_equal(window.batch(2, 2), expected.iloc[2:2])
    np.testing.assert_array_equal(table.arrays(shares, 5).batch(1, 4)["n"], expected["n"].iloc[1:4])


def two(first: pd.DataFrame, second: pd.DataFrame, rows: list[int]) -> tuple[pd.DataFrame, ObsTable]:
    table = ObsTable([MemoryFrame(first), MemoryFrame(second)])
    shares = rows_by_dataset(np.array(rows), np.array([0, len(first), len(first) + len(second)]))
    return table.frame(shares, len(rows)).batch(0, len(rows)), table


def test_categories_are_united_in_the_order_of_their_appearance():
    first = pd.DataFrame({"c": pd.Categorical(["b", None, "a"], categories=["b", "a"])})
    second = pd.DataFrame({"c": pd.Categorical(["a", "z", None], categories=["z", "a", "q"])})
    found, table = two(first, second, [5, 4, 3, 2, 1, 0])
    assert list(table.column("c").dtype.categories) == ["b", "a", "z", "q"]
    assert found["c"].tolist() == [np.nan, "z", "a", "a", np.nan, "b"]
    only_first, _ = two(first, second, [0, 2])
    assert only_first["c"].dtype == found["c"].dtype  # a code means the same in every batch


def test_equal_categories_in_another_order_are_the_same_category():
    first = pd.DataFrame({"c": pd.Categorical(["b", "a"], categories=["b", "a"])})
    second = pd.DataFrame({"c": pd.Categorical(["b", "a"], categories=["a", "b"])})
    found, _ = two(first, second, [0, 1, 2, 3])
    assert found["c"].tolist() == ["b", "a", "b", "a"]


def test_many_categories_get_codes_wide_enough():
    names = [f"c{i}" for i in range(300)]
    first = pd.DataFrame({"c": pd.Categorical(names[:100], categories=names[:100])})
    second = pd.DataFrame({"c": pd.Categorical(names[100:], categories=names[100:])})
    found, _ = two(first, second, list(range(300)))
    assert found["c"].tolist() == names


def test_numbers_of_different_types_arrive_in_one_type_in_every_batch():
    first, second = pd.DataFrame({"n": [1, 2, 3]}), pd.DataFrame({"n": [0.5, 1.5]})
    mixed, table = two(first, second, [4, 0])
    alone, _ = two(first, second, [0, 1])
    assert mixed["n"].tolist() == [1.5, 1.0]
    assert alone["n"].dtype == mixed["n"].dtype == np.float64
    shares = rows_by_dataset(np.array([0, 1]), np.array([0, 3, 5]))
    assert table.arrays(shares, 2).batch(0, 2)["n"].dtype == np.float64


def test_labels_and_strings_together_become_strings():
    found, _ = two(
        pd.DataFrame({"c": pd.Categorical(["a", "b"])}),
        pd.DataFrame({"c": np.array(["c", "d"], dtype=object)}),
        [3, 0, 2, 1],
    )
    assert found["c"].tolist() == ["d", "a", "c", "b"]


def test_nothing_is_read_before_it_is_asked_for(stored, tmp_path: Path):
    root = zarr.open_group(tmp_path, mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(root, "obs", FRAMES[0])
    table = ObsTable([StoredFrame(root["obs"])], ["n"])
    del root["obs/x"]
    shares = rows_by_dataset(np.array([3, 1]), np.array([0, 7]))
    assert table.frame(shares, 2).batch(0, 2)["n"].tolist() == FRAMES[0]["n"].iloc[[3, 1]].tolist()


def test_columns_can_be_chosen_and_ordered():
    table = ObsTable([MemoryFrame(f) for f in FRAMES], ["x", "type"])
    assert table.columns == ["x", "type"]
    pd.testing.assert_frame_equal(gather(table, [3, 19]), pd.concat(FRAMES)[["x", "type"]].iloc[[3, 19]])
    none = gather(ObsTable([MemoryFrame(f) for f in FRAMES], []), [3, 19])
    assert none.shape == (2, 0)
    assert none.index.tolist() == pd.concat(FRAMES).index[[3, 19]].tolist()


def test_columns_must_fit():
    with pytest.raises(KeyError, match=r"`obs_columns` must be columns of obs, got \['q'\]; dataset 0 has"):
        ObsTable([MemoryFrame(FRAMES[0])], ["n", "q"])
    with pytest.raises(KeyError, match=r"got \['n'\]; dataset 1 has \['x'\]"):
        ObsTable([MemoryFrame(FRAMES[0]), MemoryFrame(FRAMES[3][["x"]])], ["n"])
    with pytest.raises(ValueError, match=r"dataset 1 lacks \['x'\] and adds \['y'\]"):
        ObsTable([MemoryFrame(FRAMES[0][["x"]]), MemoryFrame(FRAMES[3][["x"]].rename(columns={"x": "y"}))])
    reordered = ObsTable([MemoryFrame(FRAMES[0][["x", "n"]]), MemoryFrame(FRAMES[3][["n", "x"]])])
    assert reordered.columns == ["x", "n"]
