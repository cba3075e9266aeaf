"""Joined inputs keep every value, or raise an error: no value changes silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from zarr.codecs import GzipCodec, ZstdCodec

from annbatch import DatasetCollection, Loader
from annbatch.collection._inputs.columns import ColumnInfo, unite
from annbatch.collection._inputs.narrow import InexactError, cast
from annbatch.collection._shuffle.order import ShuffledOrder
from annbatch.errors import StoreError

from ..conftest import assert_holds, make_counts, read

Write = Callable[..., str]
LARGE = 2**53 + 1  # the first integer that float64 cannot hold


def convert(path: Path, sources: list[str], seed: int = 3, **kwargs: object) -> DatasetCollection:
    return DatasetCollection(path).add_adatas(sources, rng=np.random.default_rng(seed), progress=False, **kwargs)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_a_cast_keeps_every_integer_or_names_the_first_that_it_cannot(dtype: str) -> None:
    limits = np.iinfo(dtype)
    kept = np.array([0, 1, 2**53, 2**53 + 2, limits.min, limits.max // 2 + 1], dtype)
    assert [int(value) for value in cast(kept, np.dtype("f8"))] == kept.tolist()
    for value in (LARGE, limits.max, limits.max - 1):
        with pytest.raises(InexactError, match=rf"exact in float64.*got {value}$"):
            cast(np.array([1, value], dtype), np.dtype("f8"))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_large_integers_joined_with_floats(tmp_path: Path, write: Write, kind: Callable[..., object]) -> None:
    cells = [make_counts(i, 4) for i in range(2)]
    counts = cells[0].X.toarray().astype(np.int64)
    cells[1].X = cells[1].X.astype(np.float64) * 0.5
    counts[2, 3] = 2**53
    cells[0].X = kind(counts)
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    parts = read(convert(tmp_path / "good.zarr", paths, shuffle=False))
    assert parts[0].X.dtype == np.float64
    assert np.array_equal(parts[0].X.toarray()[:4], counts)
    counts[2, 3] = LARGE
    cells[0].X = kind(counts)
    write(cells[0], "0.h5ad")
    with pytest.raises(StoreError, match=rf"`X` of .*0\.h5ad must hold integers .* in float64.*got {LARGE}: give"):
        convert(tmp_path / "bad.zarr", paths)
    assert DatasetCollection(tmp_path / "bad.zarr").is_empty


@pytest.mark.slow
@pytest.mark.parametrize("kind", [sparse.csr_matrix, np.asarray])
@pytest.mark.parametrize("where", ["X", "layers/counts"])
def test_floats_added_to_large_integers(tmp_path: Path, write: Write, kind: Callable[..., object], where: str) -> None:
    cells = [make_counts(i, 4) for i in range(2)]
    counts, floats = cells[0].X.toarray().astype(np.int64), kind(cells[1].X.toarray() * np.float32(0.5))

    def paths(largest: int) -> list[str]:
        counts[2, 3] = largest
        for one, matrix in zip(cells, (kind(counts), floats), strict=True):
            if where == "X":
                one.X = matrix
            else:
                one.layers["counts"] = matrix
        return [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]

    large = paths(LARGE)
    collection = convert(tmp_path / "bad.zarr", large[:1])
    with pytest.raises(StoreError, match=rf"`{where}` of .*dataset_0 must hold integers .*got {LARGE}: give the new"):
        convert(tmp_path / "bad.zarr", large[1:])
    assert collection.n_obs == 4
    convert(tmp_path / "bad.zarr", large[:1], if_present="add")
    collection = convert(tmp_path / "good.zarr", paths(2**53)[:1], shuffle=False)
    convert(tmp_path / "good.zarr", paths(2**53)[1:], shuffle=False)
    (batch,) = Loader(batch_size=8, chunk_size=8, keys=(where,)).use_collection(collection)
    for part in where.split("/"):
        batch = batch[part]
    joined = batch.toarray() if sparse.issparse(batch) else batch
    assert joined.dtype == np.float64
    assert joined[2, 3] == 2**53


@pytest.mark.parametrize(("where", "order"), [("X", "ilf"), ("obs", "ifl")])
def test_every_dataset_is_compared_with_new_rows(tmp_path: Path, write: Write, where: str, order: str) -> None:
    dtypes = {"i": np.int32, "l": np.int64, "f": np.float64}
    for number, kind in enumerate(order):
        cells = make_counts(number, 2)
        values = np.array([0.5 if kind == "f" else 1, LARGE if kind == "l" else 2], dtypes[kind])
        if where == "X":
            cells.X = np.repeat(values[:, None], cells.n_vars, axis=1)
        else:
            cells.obs["n"] = values
        path = write(cells, f"{number}.h5ad")
        if number == 2:
            with pytest.raises(StoreError, match=f"must hold integers .*exact in float64.*got {LARGE}: give"):
                convert(tmp_path / "c.zarr", [path])
        else:
            convert(tmp_path / "c.zarr", [path])
    (batch,) = Loader(batch_size=4, chunk_size=4).use_collection(DatasetCollection(tmp_path / "c.zarr"))
    assert len(batch["obs"]) == 4


def test_categories_of_every_dataset_are_compared_with_new_ones(tmp_path: Path, write: Write) -> None:
    for number, categories in enumerate([[1, 2], [0.5, 1.0], [LARGE, 1]]):
        cells = make_counts(number, 2)
        cells.obs["c"] = pd.Categorical(categories)
        path = write(cells, f"{number}.h5ad")
        if number == 2:
            with pytest.raises(TypeError, match=r"got categories \(integer\) in .* and categories \(floating\) in"):
                convert(tmp_path / "c.zarr", [path])
        else:
            convert(tmp_path / "c.zarr", [path])


def test_integers_that_one_input_lacks(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 4) for i in range(2)]
    cells[0].obsm["code"] = np.full((4, 2), LARGE)
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    with (
        pytest.warns(UserWarning, match="Not in all inputs"),
        pytest.raises(StoreError, match=rf"`obsm/code` of .*0\.h5ad .*got {LARGE}"),
    ):
        convert(tmp_path / "c.zarr", paths)


@pytest.mark.parametrize("whole", [np.array([1, LARGE]), np.array([1, LARGE], np.uint64), pd.array([1, LARGE])])
def test_columns_of_large_integers_joined_with_floats(tmp_path: Path, write: Write, whole: object) -> None:
    cells = [make_counts(i, 2) for i in range(2)]
    cells[0].obs["n"], cells[1].obs["n"] = whole, [0.5, 1.5]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    with pytest.raises(StoreError, match=rf"Column 'n' of `obs` of .*0\.h5ad .*got {LARGE}"):
        convert(tmp_path / "c.zarr", paths)


@pytest.mark.parametrize("whole", [np.array([1, LARGE]), np.array([1, LARGE], np.uint64), pd.array([1, LARGE])])
def test_floats_added_to_a_column_of_large_integers(tmp_path: Path, write: Write, whole: object) -> None:
    cells = [make_counts(i, 2) for i in range(2)]
    cells[0].obs["n"], cells[1].obs["n"] = whole, [0.5, 1.5]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths[:1])
    with pytest.raises(StoreError, match=rf"Column 'n' of `obs` of .*dataset_0 must hold .*got {LARGE}: give the new"):
        convert(tmp_path / "c.zarr", paths[1:])
    assert collection.n_obs == 2
    cells[0].obs["n"] = whole - 1
    write(cells[0], "0.h5ad")
    collection = convert(tmp_path / "d.zarr", paths[:1], shuffle=False)
    convert(tmp_path / "d.zarr", paths[1:], shuffle=False)
    assert collection.obs()["n"].tolist() == [0, LARGE - 1, 0.5, 1.5]


@pytest.mark.parametrize(
    ("first", "second", "got"),
    [
        ([LARGE], [0.5], r"categories \(integer\) in a and categories \(floating\) in b"),
        ([LARGE], [float(2**53)], r"categories \(integer\) in a and categories \(floating\) in b"),
        ([True, False], [1, 2], r"categories \(boolean\) in a and categories \(integer\) in b"),
        (["x"], [1], r"categories \(string\) in a and categories \(integer\) in b"),
        ([np.uint64(2**63 + 1)], [-1], r"categories \(integer\) in a"),
    ],
)
def test_categories_of_several_kinds(first: list[object], second: list[object], got: str) -> None:
    columns = [ColumnInfo("categorical", np.dtype("i4"), pd.Index(one)) for one in (first, second)]
    with pytest.raises(TypeError, match=f"Column 'c' must hold one kind of values in all inputs, got {got}"):
        unite(columns, "Column 'c'", ["a", "b"])


def test_the_error_names_files_and_their_dtypes() -> None:
    columns = [
        None,
        ColumnInfo("plain", np.dtype("f4")),
        ColumnInfo("string", np.dtype(object)),
        ColumnInfo("plain", np.dtype("f4")),
    ]
    with pytest.raises(TypeError, match=r"got float32 in b and strings in c: unify them"):
        unite(columns, "Column 'c'", list("abcd"))


def test_integer_categories_joined_with_fractions() -> None:
    columns = [ColumnInfo("categorical", np.dtype("i4"), pd.Index(one)) for one in ([2, 1], [0.5, 1.0])]
    assert unite(columns, "", ["a", "b"]).categories.tolist() == [2.0, 1.0, 0.5]


@pytest.mark.parametrize("lists", [["acd", "abcd"], ["abcd", "bd"], ["abcd", "abcd", ""]])
def test_categories_stay_ordered_where_one_order_holds_for_all(lists: list[str]) -> None:
    columns = [ColumnInfo("categorical", np.dtype("i4"), pd.Index(list(one), dtype=object), True) for one in lists]
    united = unite(columns, "", lists)
    assert united.ordered
    assert united.categories.tolist() == list("abcd")


@pytest.mark.parametrize(("lists", "ordered"), [(("ab", "ba"), (1, 1)), (("ab", "bc"), (1, 1)), (("ab", "ab"), (1, 0))])
def test_losing_the_order_of_categories_warns(lists: tuple[str, ...], ordered: tuple[int, ...]) -> None:
    columns = [
        ColumnInfo("categorical", np.dtype("i4"), pd.Index(list(one)), bool(yes))
        for one, yes in zip(lists, ordered, strict=True)
    ]
    with pytest.warns(UserWarning, match="Column 'c' has ordered categories, but no single order in all inputs"):
        assert not unite(columns, "Column 'c'", list(lists)).ordered


def named(number: int, genes: list[str]) -> ad.AnnData:
    rng = np.random.default_rng(number)
    counts = sparse.csr_matrix(rng.integers(1, 9, (3, len(genes))).astype(np.float32))
    return ad.AnnData(
        counts, obs=pd.DataFrame(index=[f"f{number}_{i}" for i in range(3)]), var=pd.DataFrame(index=genes)
    )


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_raise_if_the_join_is_ambiguous(tmp_path: Path, write: Write) -> None:
    cases = [
        (["a", "b", "a"], ["a", "b"], "0"),
        (["a", "b"], ["a", "a", "b"], "1"),
        (["a", "a", "b"], ["b", "a", "a"], "1"),
    ]
    for number, (held, added, named_file) in enumerate(cases):
        paths = [write(named(i, genes), f"{number}_{i}.h5ad") for i, genes in enumerate((held, added))]
        home = tmp_path / f"{number}.zarr"
        convert(home, paths[:1])
        where = r"dataset_0" if named_file == "0" else r"_1\.h5ad"
        with pytest.raises(ValueError, match=rf"names must not repeat, got 1 repeated in .*{where}: 'a'"):
            convert(home, paths[1:])
        convert(home, paths[:1], seed=4, if_present="add")  # the same genes in the same order are not ambiguous
        assert len(DatasetCollection(home)) == 2


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_that_are_dropped_are_allowed(tmp_path: Path, write: Write) -> None:
    path = write(named(0, ["x", "a", "x", "b"]), "0.h5ad")
    convert(tmp_path / "c.zarr", [path], var_subset=["b", "a"])
    with pytest.warns(UserWarning, match="Dropping 1 variables"):
        collection = convert(tmp_path / "c.zarr", [path], seed=4, shuffle=False, if_present="add")
    assert np.array_equal(read(collection)[1].X.toarray(), named(0, ["x", "a", "x", "b"]).X.toarray()[:, [3, 1]])


def test_ordinary_inputs_are_joined(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 5) for i in range(2)]
    cells[0].obs["n"], cells[1].obs["n"] = np.arange(5), np.arange(5) / 2
    cells[1].X = cells[1].X.astype(np.float64)
    cells[0].X = cells[0].X.astype(np.float64)
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    assert_holds(convert(tmp_path / "c.zarr", paths), dict(zip(paths, cells, strict=True)))


@pytest.mark.parametrize("memory_limit", ["4GB", "100kB"])
def test_a_collection_is_in_the_order_that_its_seed_gives(tmp_path: Path, write: Write, memory_limit: str) -> None:
    # `ShuffledOrder` is tested to be uniform; this shows that collections follow it.
    cells = [make_counts(i, n) for i, n in enumerate([900, 1, 1500])]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, seed=11, dataset_size=1000, memory_limit=memory_limit)
    order = ShuffledOrder(int(np.random.default_rng(11).integers(2**63)))
    names = np.concatenate([one.obs_names for one in cells])
    expected = names[order.arrange(order.keys(0, len(names)), np.arange(len(names)))]
    assert collection.obs().index.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "compressor", [GzipCodec(level=3), [ZstdCodec(level=2)], {"name": "zstd", "configuration": {"level": 1}}]
)
def test_a_reshuffle_keeps_the_compression(tmp_path: Path, write: Write, compressor: object) -> None:
    path = write(make_counts(0, 30), "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path], zarr_compressor=compressor)
    before = next(iter(collection))["X"]["data"].compressors
    collection.reshuffle(progress=False)
    assert next(iter(collection))["X"]["data"].compressors == before
