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

from annbatch import Loader
from annbatch._anndata.frames import MemoryFrame, StoredFrame
from annbatch._anndata.table import ObsTable
from annbatch._plan.window_rows import rows_by_dataset

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


@pytest.mark.slow
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
        column = expected[name].cat.codes if name in ("type", "gaps") else expected[name]
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)


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


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ([1, 2], [True, False], None),
        ([True], ["a"], [True, "a"]),
        ([1, 0], ["a"], [1, 0, "a"]),
        ([1, 2], [2.0, 2.5], [1.0, 2.0, 2.5]),
        ([2**53 + 1], [2.0**53], [2**53 + 1, 2.0**53]),
        (["1"], [1], ["1", 1]),
    ],
)
def test_categories_of_different_types_keep_their_values(one, other, joined):
    first, second = (pd.DataFrame({"c": pd.Categorical(values, categories=values)}) for values in (one, other))
    found, table = two(first, second, list(range(len(one) + len(other))))
    assert found["c"].tolist() == one + other
    categories = table.column("c").categories
    assert (categories and categories.categories.tolist()) == joined
    if joined is None:  # to pandas, True and 1 are the same category
        assert found["c"].dtype == object
        assert list(map(type, found["c"])) == [int, int, bool, bool]


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


# What datasets of different columns and dtypes become ---------------------------------------------------------------


def joined(*frames: pd.DataFrame, join: str = "exact", columns: list[str] | None = None, disk: Path | None = None):
    """Return the rows of all frames in reverse, as a frame and as arrays, from memory or from disk."""
    opened = [MemoryFrame(frame) for frame in frames]
    if disk is not None:
        root = zarr.open_group(disk, mode="w")
        with ad.settings.override(auto_shard_zarr_v3=False, allow_write_nullable_strings=True):
            for i, frame in enumerate(frames):
                write_elem(root, str(i), frame.set_index(np.array([f"r{n}" for n in range(len(frame))], dtype=object)))
        opened = [StoredFrame(root[str(i)]) for i in range(len(frames))]
    table = ObsTable(opened, columns, join=join)
    starts = np.concatenate([[0], np.cumsum([len(frame) for frame in frames])])
    n = int(starts[-1])
    shares = rows_by_dataset(np.arange(n)[::-1], starts)
    alone = rows_by_dataset(np.arange(len(frames[0])), starts)  # rows of the first dataset only
    frame, arrays = table.frame(shares, n).batch(0, n), table.arrays(shares, n).batch(0, n)
    some, some_arrays = table.frame(alone, len(frames[0])).frame, table.arrays(alone, len(frames[0])).columns
    assert some.dtypes.tolist() == frame.dtypes.tolist()  # whichever datasets the rows of a batch come from
    assert [array.dtype for array in some_arrays.values()] == [array.dtype for array in arrays.values()]
    return frame, arrays


MIXED = {
    "integers": (["i2", "i8"], "int64", "i8"),
    "signs": (["u1", "i1"], "int16", "i2"),
    "integers and floats": (["i4", "f4"], "float64", "f8"),
    "booleans and integers": (["?", "i4"], "int32", "i4"),
    "nullable and plain integers": (["Int16", "i4"], "Int32", "f8"),
    "nullable small integers": (["Int8", "Int16"], "Int16", "f4"),
    "nullable booleans": (["boolean", "?"], "boolean", "f4"),
    "nullable integers and floats": (["Int32", "f8"], "Float64", "f8"),
    "nullable floats": (["Float32", "f4"], "Float32", "f4"),
}


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize(("dtypes", "framed", "arrayed"), MIXED.values(), ids=MIXED)
def test_one_dtype_whatever_the_datasets_have(dtypes, framed, arrayed, where, tmp_path):
    if where == "disk" and "Float32" in dtypes:
        pytest.skip("anndata stores no nullable floats")
    frames = [pd.DataFrame({"c": pd.array([0, 1, 1], dtype=dtype)}) for dtype in dtypes]
    for frame, dtype in zip(frames, dtypes, strict=True):
        if dtype[0].isupper() or dtype == "boolean":
            frame.loc[1, "c"] = pd.NA
    frame, arrays = joined(*frames, disk=tmp_path if where == "disk" else None)
    assert frame["c"].dtype == framed
    assert arrays["c"].dtype == arrayed
    expected = [value for one in frames for value in one["c"]][::-1]
    for found, array, value in zip(frame["c"], arrays["c"], expected, strict=True):
        if pd.isna(value):
            assert pd.isna(found)
            assert np.isnan(array)
        else:
            assert found == array == value


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_strings_of_every_sort_become_strings(where, tmp_path):
    plain = pd.DataFrame({"c": np.array(["a", "b"], dtype=object)})
    nullable = pd.DataFrame({"c": pd.array(["c", None], dtype="string")})
    labels = pd.DataFrame({"c": pd.Categorical(["d", None])})
    disk = tmp_path if where == "disk" else None
    frame, arrays = joined(plain, nullable, labels, disk=disk)
    assert isinstance(frame["c"].dtype, pd.StringDtype)
    assert [None if pd.isna(value) else value for value in frame["c"]] == [None, "d", None, "c", "b", "a"]
    assert arrays["c"].dtype == object
    frame, _ = joined(plain, labels, disk=disk)
    assert [None if pd.isna(value) else value for value in frame["c"]] == [None, "d", "b", "a"]


def test_what_has_nothing_in_common_becomes_objects():
    frame, arrays = joined(pd.DataFrame({"c": [1, 2]}), pd.DataFrame({"c": np.array(["x"], dtype=object)}))
    assert frame["c"].tolist() == ["x", 2, 1]
    assert frame["c"].dtype == arrays["c"].dtype == object


def test_dates_stay_dates():
    days = pd.DataFrame({"c": pd.to_datetime(["2020-01-02", "2021-03-04"])})
    frame, arrays = joined(days, days[:1])
    assert frame["c"].dtype == days["c"].dtype
    assert frame["c"].tolist() == [days["c"][i] for i in (0, 1, 0)]
    assert arrays["c"].dtype.kind == "M"


ONE = pd.DataFrame(
    {
        "n": [1, 2],
        "small": np.array([1, 2], "i1"),
        "x": [0.5, 1.5],
        "flag": [True, False],
        "type": pd.Categorical(["a", "b"]),
        "name": np.array(["p", "q"], dtype=object),
        "maybe": pd.array([1, None], dtype="Int64"),
        "text": pd.array(["s", None], dtype="string"),
        "day": pd.to_datetime(["2020-01-02", "2021-03-04"]),
        "shared": [7, 8],
    }
)
OTHER = pd.DataFrame({"shared": [9], "extra": [3.0]})


def test_columns_that_a_dataset_lacks_are_missing():
    frame, arrays = joined(ONE, OTHER, join="outer")
    assert frame.columns.tolist() == [*ONE.columns, "extra"]
    assert frame["shared"].tolist() == [9, 8, 7]
    assert frame["shared"].dtype == np.int64
    dtypes = {"n": "Int64", "small": "Int8", "x": "float64", "flag": "boolean", "maybe": "Int64", "text": "string"}
    assert {name: str(frame[name].dtype) for name in dtypes} == dtypes
    assert frame["day"].dtype == ONE["day"].dtype
    for name in ONE.columns.drop("shared"):
        assert pd.isna(frame[name].iloc[0])
        assert frame[name].iloc[2] == ONE[name].iloc[0]
    assert frame["extra"].isna().tolist() == [False, True, True]
    assert arrays["type"].tolist() == [-1, 1, 0]
    assert arrays["name"].tolist() == [None, "q", "p"]
    assert arrays["text"].tolist() == [None, None, "s"]
    assert {name: arrays[name].dtype.str[1:] for name in ("n", "small", "flag")} == {
        "n": "f8",
        "small": "f4",
        "flag": "f4",
    }
    np.testing.assert_array_equal(arrays["n"], [np.nan, 2, 1])


def test_columns_that_all_have():
    frame, _ = joined(ONE, OTHER, join="inner")
    assert frame.columns.tolist() == ["shared"]
    chosen, _ = joined(ONE, OTHER, join="outer", columns=["extra", "n"])
    assert chosen.columns.tolist() == ["extra", "n"]
    with pytest.raises(KeyError, match=r"`obs_columns` must be columns of `obs`, got \['q'\]; there are"):
        joined(ONE, OTHER, join="outer", columns=["q"])
    with pytest.raises(ValueError, match="or join them with `obs_join`"):
        joined(ONE, OTHER)
    with pytest.raises(ValueError, match="`obs_join` must be 'exact', 'inner' or 'outer', got 'left'"):
        Loader(obs_join="left")


def test_what_obs_reads_is_counted(tmp_path):
    n = 20_000
    obs = pd.DataFrame({"a": np.arange(n), "name": [f"n{i % 50}" for i in range(n)]}, index=[f"c{i}" for i in range(n)])
    root = zarr.open_group(tmp_path, mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(root, "/", ad.AnnData(np.zeros((n, 1), "f4"), obs=obs, var=pd.DataFrame(index=["g"])))

    def read(columns: list[str], **how) -> int:
        options = {
            "batch_size": 100,
            "chunk_size": 100,
            "preload_nchunks": 1,
            "prefetch": 0,
            "keys": ("X", "obs"),
            **how,
        }
        loader = Loader(obs_columns=columns, **options).add_adata(root)
        next(iter(loader))
        return loader.stats.bytes_read

    nothing = read([], obs_as="arrays")
    assert read(["a"], obs_as="arrays") - nothing >= 100
    assert read(["name"], obs_as="arrays") - nothing >= 100
    assert read([]) > nothing  # the rows' names


LARGE = 2**53 + 1
JOINS = {
    "int64, float64": ([LARGE], np.array([0.5])),
    "uint64, float32": (np.array([2**64 - 1], "u8"), np.array([0.5], "f4")),
    "int64, uint64": ([-LARGE], np.array([1], "u8")),
    "int64, complex": ([LARGE], np.array([1j])),
    "Int64, float64": (pd.array([LARGE], dtype="Int64"), np.array([0.5])),
    "int64, Float64": ([LARGE], pd.array([0.5], dtype="Float64")),
}


def over_datasets(columns, *, arrays: bool):
    """Return the values of a column that datasets hold in several dtypes."""
    loader = Loader(batch_size=4, chunk_size=2, preload_nchunks=2, obs_as="arrays" if arrays else "dataframe")
    for one in columns:
        obs = pd.DataFrame({"id": one}, index=[f"row{i}" for i in range(len(one))])
        loader.add_dataset(np.zeros((len(obs), 1)), obs)
    (batch,) = loader
    return batch["obs"]["id"]


@pytest.mark.parametrize("arrays", [False, True])
@pytest.mark.parametrize("columns", JOINS.values(), ids=JOINS)
def test_integers_that_a_joined_dtype_would_round_are_an_error(columns, arrays):
    with pytest.raises(
        ValueError, match=r"^Column 'id' of `obs` must have values that \w+ holds exactly, .*, got -?\d{16,20}: "
    ):
        over_datasets(columns, arrays=arrays)


def test_nullable_integers_that_arrays_would_round_are_an_error():
    column = pd.array([LARGE, None], dtype="Int64")
    assert over_datasets([column], arrays=False).tolist()[0] == LARGE
    with pytest.raises(ValueError, match=rf"^Column 'id' of `obs` .*, got {LARGE}: leave the column out"):
        over_datasets([column], arrays=True)
    assert over_datasets([pd.array([2**53, None], dtype="Int64")], arrays=True)[0] == 2**53
    assert over_datasets([[-(2**53), 2**60], np.array([0.5])], arrays=True).tolist() == [-(2.0**53), 2.0**60, 0.5]


def test_a_column_without_a_name_is_not_the_index():
    frame = pd.DataFrame({None: [1, 2]}, index=["a", "b"])
    table = ObsTable([MemoryFrame(frame)])
    found = table.frame(rows_by_dataset(np.arange(2), np.array([0, 2])), 2).frame
    assert found.index.tolist() == ["a", "b"]
    assert found.iloc[:, 0].tolist() == [1, 2]
