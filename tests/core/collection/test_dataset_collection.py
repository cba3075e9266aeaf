"""Every row of every input is in the collection, exactly."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader

from .conftest import GENES, assert_holds, convert, make_cells, make_counts, read

Write = Callable[..., str]


@pytest.mark.parametrize("kind", ["csr", "csc", "dense"])
@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_rows_of_every_kind(tmp_path: Path, write: Write, kind: str, suffix: str) -> None:
    cells = [make_cells(i, n, kind=kind) for i, n in enumerate([40, 24])]
    paths = [write(one, f"{i}.{suffix}") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, dataset_size=40 if kind == "csr" else "20GB")
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert collection.n_obs == 64
    assert collection.n_vars == 30
    assert list(collection.var_names) == GENES
    assert len(collection) == (2 if kind == "csr" else 1)


def test_sparse_and_dense_together(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(i, 20, kind=kind) for i, kind in enumerate(["csr", "dense", "csc"])]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths)
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert next(iter(collection))["X"].attrs["encoding-type"] == "csr_matrix"


def test_counts_are_narrowed_and_their_dtype_remembered(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(0, 30), make_cells(1, 30)]
    cells[1].X[0, 0] = 300  # one type for all datasets, whichever it falls into
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    for group in convert(tmp_path / "c.zarr", paths, dataset_size=20):
        assert group["X/data"].dtype == "uint16"
        assert group["X"].attrs["annbatch-dtype"] == "float32"
        assert group["X/indices"].dtype == "uint8"
        assert group["X/indptr"].dtype == "int64"
        assert group["layers/twice/data"].dtype == "uint8"
        assert group["obsm/image"].dtype == "uint16"
        assert group["obsm/image"].attrs["annbatch-dtype"] == "int32"
        assert group["obsm/pca"].dtype == "float64"
        assert "annbatch-dtype" not in group["obsm/pca"].attrs


def test_values_that_are_no_integers_are_kept_bit_for_bit(tmp_path: Path, write: Write) -> None:
    odd = np.array([1, -0.0, np.inf, -np.inf, np.nan, 1e30, -(2.0**40), 0.5, 2.0**24 + 2], np.float32)
    cells = make_counts(0, 9)
    cells.X = sparse.csr_matrix((odd, np.arange(9), np.arange(10)), shape=(9, 30))
    path = write(cells, "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path])
    assert_holds(collection, {path: cells})
    group = next(iter(collection))
    assert group["X/data"].dtype == "float32"
    assert sorted(group["X/data"][:].view("u4").tolist()) == sorted(odd.view("u4").tolist())


@pytest.mark.parametrize(
    ("dtypes", "fraction"),
    [
        (("float32", "int64"), False),
        (("float32", "int64"), True),
        (("float32", "float64"), False),
        (("float32", "float64"), True),
        (("int32", "uint8"), False),
        (("float32", "float32"), True),
    ],
)
def test_dtypes_of_inputs_meet(tmp_path: Path, write: Write, dtypes: tuple[str, str], fraction: bool) -> None:
    cells = [
        make_cells(i, 10, dtype=dtype, fraction=fraction and dtype.startswith("float"))
        for i, dtype in enumerate(dtypes)
    ]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths)
    for one in cells:
        one.X = one.X.astype(np.result_type(*dtypes))
        one.layers["twice"] = one.layers["twice"].astype(np.result_type(*dtypes))
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


@pytest.mark.parametrize(
    ("kind", "n_rows"),
    [("csr", [0]), ("csr", [0, 3]), ("csr", [3, 0, 1]), ("csr", [1]), ("dense", [0, 0]), ("dense", [3, 0, 1])],
)
def test_few_rows(tmp_path: Path, write: Write, n_rows: list[int], kind: str) -> None:
    cells = [make_cells(i, n, kind=kind) for i, n in enumerate(n_rows)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, if_present="add")  # empty inputs are all the same
    assert collection.n_obs == sum(n_rows)
    assert not collection.is_empty
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


def test_no_values_at_all_and_no_columns_of_obs(tmp_path: Path, write: Write) -> None:
    cells = ad.AnnData(sparse.csr_matrix((12, 5), dtype="f4"))
    path = write(cells, "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path], dataset_size=5)
    assert_holds(collection, {path: cells})
    assert list(collection.obs().columns) == ["src_path"]


def test_columns_and_elements_of_some_inputs_only(tmp_path: Path, write: Write) -> None:
    full, part = make_cells(0, 8), make_cells(1, 8)
    for column in ("word", "dose", "batch", "good", "label", "age"):
        del part.obs[column]
    del part.obsm["pca"], part.obsm["near"], part.obsm["table"], part.layers["twice"]
    paths = [write(full, "0.h5ad"), write(part, "1.h5ad")]
    with pytest.warns(UserWarning, match=r"Not in all inputs.*obsm/pca.*obs\['word'\]"):
        collection = convert(tmp_path / "c.zarr", paths, shuffle=False)
    (both,) = read(collection)
    for column in ("word", "dose", "batch", "good", "label", "age"):
        assert both.obs[column].iloc[8:].isna().all()
        assert (
            both.obs[column].iloc[:8].astype(object).tolist() == full.obs[column].astype(object).tolist()
            or column == "age"
        )
    assert np.isnan(both.obsm["pca"][8:]).all()
    assert np.array_equal(both.obsm["pca"][:8], full.obsm["pca"])
    assert both.obsm["near"][8:].nnz == both.layers["twice"][8:].nnz == 0
    assert both.obsm["table"].iloc[8:].isna().all(axis=None)


def test_categories_are_united_in_the_order_of_appearance(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 6) for i in range(3)]
    lists = [["T", "B"], ["NK", "B", "unused"], ["A", "T"]]
    for one, categories in zip(cells, lists, strict=True):
        one.obs["label"] = pd.Categorical.from_codes([0, 1, -1, 0, 1, 0], categories=categories)
    with ad.settings.override(remove_unused_categories=False):
        paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, dataset_size=6)
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    label = collection.obs(["label"])["label"]
    assert list(label.cat.categories) == ["T", "B", "NK", "unused", "A"]
    assert not label.cat.ordered


def test_ordered_categories_stay_ordered_where_all_agree(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 6) for i in range(2)]
    for one in cells:
        one.obs["stage"] = pd.Categorical(["early", "late"] * 3, categories=["late", "early"], ordered=True)
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    stage = convert(tmp_path / "c.zarr", paths, dataset_size=4).obs()["stage"]
    assert stage.cat.ordered
    assert list(stage.cat.categories) == ["late", "early"]


def test_ordered_categories_stay_ordered_over_datasets_that_have_more_of_them(tmp_path: Path, write: Write) -> None:
    paths = []
    for number, categories in enumerate([["low", "high"], ["low", "middle", "high"]]):
        one = make_counts(number, 6)
        one.obs["stage"] = pd.Categorical(categories[:2] * 3, categories=categories, ordered=True)
        paths.append(write(one, f"{number}.h5ad"))
    with ad.settings.override(remove_unused_categories=False):
        convert(tmp_path / "c.zarr", paths[:1])
    stage = convert(tmp_path / "c.zarr", paths[1:]).obs()["stage"]
    assert stage.cat.ordered
    assert list(stage.cat.categories) == ["low", "middle", "high"]


def test_strings_against_numbers_are_refused(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(i, 3) for i in range(2)]
    cells[1].obs["dose"] = ["x", "y", "z"]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    with pytest.raises(TypeError, match="Column 'dose' of `obs` must hold one kind of values in all inputs"):
        convert(tmp_path / "c.zarr", paths)


def test_a_seed_repeats_and_another_differs(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 50), "0.h5ad")
    orders = [
        convert(tmp_path / f"{i}.zarr", [path], rng=np.random.default_rng(seed), dataset_size=size).obs().index.tolist()
        for i, (seed, size) in enumerate([(0, 50), (0, 11), (1, 50)])
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_one_number_is_drawn_from_rng(tmp_path: Path, write: Write) -> None:
    rng, same = np.random.default_rng(5), np.random.default_rng(5)
    convert(tmp_path / "c.zarr", [write(make_counts(0, 5), "0.h5ad")], rng=rng)
    same.integers(2**63)
    assert rng.integers(2**63) == same.integers(2**63)


def test_without_shuffle_the_order_stays(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 20) for i in range(2)]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = convert(tmp_path / "c.zarr", paths, shuffle=False, dataset_size=15)
    assert collection.obs().index.tolist() == [*cells[0].obs_names, *cells[1].obs_names]


@pytest.mark.parametrize("layout", ["compact", "portable", "random_access"])
def test_layouts(tmp_path: Path, write: Write, layout: str) -> None:
    cells = make_cells(0, 100)
    path = write(cells, "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path], layout=layout, n_obs_per_chunk=8, shard_size=32)
    assert_holds(collection, {path: cells})
    (group,) = collection
    per_row = group["X/data"].shape[0] / 100
    for name in ("data", "indices"):
        array = group[f"X/{name}"]
        assert array.chunks[0] == round(8 * per_row)
        assert array.shards[0] == 4 * array.chunks[0]
        (sharding,) = array.metadata.codecs
        blosc = [codec for codec in sharding.codecs if type(codec).__name__ == "BloscCodec"]
        assert (sharding.codecs[0].to_dict()["name"] == "numcodecs.delta") == (
            layout == "compact" and name == "indices"
        )
        if layout != "random_access":
            assert [(codec.typesize, codec.blocksize, codec.clevel) for codec in blosc] == [
                (array.dtype.itemsize, 16384 if layout == "compact" else 8192, 5)
            ]
        else:
            assert not blosc
    assert group["obsm/image"].chunks == (8, 2, 3)
    assert group["obsm/image"].shards == (32, 2, 3)


def test_a_compressor_of_the_user_wins_over_the_layout(tmp_path: Path, write: Write) -> None:
    cells = make_cells(0, 40)
    path = write(cells, "0.h5ad")
    codec = zarr.codecs.ZstdCodec(level=3)
    collection = convert(tmp_path / "c.zarr", [path], zarr_compressor=[codec], n_obs_per_chunk=8, shard_size=16)
    assert_holds(collection, {path: cells})
    (group,) = collection
    (sharding,) = group["X/data"].metadata.codecs
    assert [type(codec).__name__ for codec in sharding.codecs] == ["BytesCodec", "ZstdCodec", "Crc32cCodec"]


def test_open_groups_are_inputs(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 10) for i in range(2)]
    paths = [write(cells[0], "0.h5ad"), write(cells[1], "1.zarr")]
    group = zarr.open_group(paths[1], mode="r")
    with h5py.File(paths[0]) as file:
        collection = convert(tmp_path / "c.zarr", [file, group])
        assert file.id.valid
    assert_holds(collection, {paths[0]: cells[0], str(group.store_path): cells[1]})


def test_a_collection_in_a_group_of_the_user(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 10)
    path = write(cells, "0.h5ad")
    group = zarr.open_group(tmp_path / "all.zarr", mode="w", zarr_format=3).create_group("inner")
    collection = DatasetCollection(group).add_adatas([path], progress=False)
    assert_holds(collection, {path: cells})
    assert group.attrs["encoding-type"] == "annbatch-preshuffled"
    assert_holds(DatasetCollection(tmp_path / "all.zarr" / "inner", mode="r"), {path: cells})


def test_a_collection_in_memory(write: Write) -> None:
    cells = make_cells(0, 30)
    path = write(cells, "0.h5ad")
    group = zarr.group(zarr.storage.MemoryStore(), zarr_format=3)
    collection = DatasetCollection(group).add_adatas(
        [path], dataset_size=20, n_obs_per_chunk=4, shard_size=8, progress=False
    )
    assert_holds(collection, {path: cells})
    assert len(collection) == 2


@pytest.mark.parametrize("how", ["memory", "backed", "csc", "lazy"])
def test_load_adata(tmp_path: Path, write: Write, how: str) -> None:
    cells = [make_cells(i, 12, genes=GENES[i : 20 + i]) for i in range(2)]
    for one in cells:
        del one.obsm["table"]
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]

    def load(path: str) -> ad.AnnData:
        if how == "backed":
            return ad.read_h5ad(path, backed="r")
        if how == "lazy":
            pytest.importorskip("xarray", reason="lazy AnnData objects need xarray")
            return ad.experimental.read_lazy(path)
        adata = ad.read_h5ad(path)
        if how == "csc":
            adata.X = adata.X.tocsc()
        return adata

    collection = convert(tmp_path / "c.zarr", paths, load_adata=load)
    assert_holds(collection, dict(zip(paths, cells, strict=True)))


def test_raw_of_files_is_dropped_with_a_warning_and_load_adata_converts_it(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 6)
    counts = cells.copy()
    cells.raw = counts
    cells.X = cells.X * 0.5
    path = write(cells, "0.h5ad")
    with pytest.warns(UserWarning, match=r"Dropping raw of . of . inputs, as of .*0\.h5ad: `raw='use'` converts it"):
        collection = convert(tmp_path / "c.zarr", [path])
    assert_holds(collection, {path: cells})
    collection = convert(
        tmp_path / "raw.zarr", [path], load_adata=lambda p: ad.read_h5ad(p).raw.to_adata(), shuffle=False
    )
    (part,) = read(collection)
    assert np.array_equal(part.X.toarray(), counts.X.toarray())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind"),
    [("files", "csr"), ("files", "dense"), ("loaded", "csr"), ("lazy", "dense"), ("h5ad", "csr"), ("h5ad", "dense")],
)
def test_raw_is_shuffled_with_its_rows_and_has_variables_of_its_own(
    tmp_path: Path, write: Write, kind: str, how: str
) -> None:
    if how == "lazy":
        pytest.importorskip("xarray", reason="lazy AnnData objects need xarray")
    cells, paths = [], []
    for number, genes in enumerate([GENES[:9], GENES[3:12][::-1], GENES[:9]]):
        whole = make_counts(number, 8, kind=kind, genes=genes)
        whole.obs_names = [f"{number}_{name}" for name in whole.obs_names]
        one = whole[:, genes[3:6]].copy()
        one.raw = whole
        cells.append(one)
        paths.append(write(one, f"{number}.h5ad"))
    load = {"loaded": ad.read_h5ad, "lazy": ad.experimental.read_lazy}.get(how)
    options = {"raw": None if load else "keep", "load_adata": load, "dataset_size": 12, "min_overlap": 0}
    if how == "h5ad":
        collection = DatasetCollection(tmp_path / "c", is_collection_h5ad=True)
        collection.add_adatas(paths, rng=3, progress=False, raw="keep", dataset_size=12, min_overlap=0)
        parts = [ad.read_h5ad(path) for path in sorted((tmp_path / "c").glob("*.h5ad"))]
    else:
        collection = convert(tmp_path / "c.zarr", paths[:2], **options)
        collection.add_adatas(paths[2:], progress=False, **options)
        collection.reshuffle(5, progress=False)
        assert collection.verify()
        parts = [collection.to_adata(number) for number in range(len(collection))]
        (var,) = {tuple(ad.io.read_elem(group["raw/var"]).index) for group in collection}
        assert sorted(var) == sorted(GENES[:12])
    assert {part.raw.X.dtype for part in parts} == {cells[0].X.dtype}
    found, expected = (pd.concat([one.raw.to_adata().to_df() for one in some]).fillna(0) for some in (parts, cells))
    pd.testing.assert_frame_equal(found.loc[expected.index, expected.columns], expected)


@pytest.mark.parametrize("unit", [20, 30])
def test_a_shard_with_its_index_is_no_larger_than_asked(tmp_path: Path, write: Write, unit: int) -> None:
    path = write(make_counts(0, 200, kind="dense"), "0.h5ad")
    options = {"n_obs_per_chunk": 1, "zarr_compressor": (), "narrow": False}
    collection = convert(tmp_path / "c.zarr", [path], shard_size=f"{unit}kB", **options)
    sizes = [file.stat().st_size for file in (tmp_path / "c.zarr/dataset_0/X/c").rglob("*") if file.is_file()]
    assert max(sizes) <= unit * 1000 < 2 * max(sizes)
    assert collection.verify()


def test_raw_that_not_all_inputs_have_is_dropped_with_a_warning_that_counts(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(number, 6) for number in range(3)]
    cells[1].raw = cells[1].copy()
    paths = [write(one, f"{number}.h5ad") for number, one in enumerate(cells)]
    with pytest.warns(UserWarning, match=r"Dropping raw of 1 inputs, as 2 others have none: .*0\.h5ad"):
        collection = convert(tmp_path / "c.zarr", paths, raw="keep")
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert all("raw" not in group for group in collection)


def test_raw_of_another_kind_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(make_counts(0, 3), "0.h5ad")
    with pytest.raises(ValueError, match=r"`raw` must be 'use', 'keep' or 'drop', got 'yes'"):
        convert(tmp_path / "c.zarr", [path], raw="yes")


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.parametrize("loaded", [False, True])
def test_columns_keep_their_types_and_the_index_its_name(
    tmp_path: Path, write: Write, suffix: str, loaded: bool
) -> None:
    cells = [make_counts(i, 6) for i in range(2)]
    for one in cells:
        one.obs.index.name = "barcode"
        one.obs["note"] = pd.array([f"{name}!" for name in one.obs_names], dtype="string")
        one.obs["dose"] = pd.array([1, None, 3, 4, 5, 6], dtype="Int16")
        one.obsm["table"] = pd.DataFrame({"u": np.arange(6, dtype="u2")}, index=one.obs.index)
    cells[1].obs.loc["f1_r2", "note"] = pd.NA
    paths = [write(one, f"{i}.{suffix}") for i, one in enumerate(cells)]
    read_one = ad.read_zarr if suffix == "zarr" else ad.read_h5ad
    collection = convert(tmp_path / "c.zarr", paths, load_adata=read_one if loaded else None)
    collection.reshuffle(progress=False)
    for part in read(collection):
        assert part.obs.index.name == "barcode"
        assert part.obsm["table"].index.name == "barcode"
        assert part.obs["note"].dtype == pd.StringDtype()
        assert part.obs["dose"].dtype == pd.Int16Dtype()
        assert part.obsm["table"]["u"].dtype == np.uint16
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
    assert collection.obs().index.name == "barcode"
    assert collection.obs(["note"]).index.name == "barcode"


def test_index_names_that_differ_are_left_out(tmp_path: Path, write: Write) -> None:
    cells = [make_counts(i, 3) for i in range(3)]
    cells[0].obs.index.name, cells[1].obs.index.name = "barcode", "cell"
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    assert convert(tmp_path / "both.zarr", paths).obs().index.name is None
    assert convert(tmp_path / "one.zarr", paths[1:]).obs().index.name == "cell"
    cells[2].obs["cell"] = ["x", "y", "z"]
    with pytest.warns(UserWarning, match="Not in all inputs"):
        collection = convert(tmp_path / "column.zarr", [paths[1], write(cells[2], "3.h5ad")])
    assert collection.obs().index.name is None


@pytest.mark.slow
def test_many_files_and_one_row(tmp_path: Path, write: Write) -> None:
    paths = [write(make_counts(i, 1 + i), f"{i}.h5ad") for i in range(3)]
    paths += [shutil.copy(paths[i % 3], tmp_path / f"{i}.h5ad") for i in range(3, 300)]
    paths = [str(path) for path in paths]
    collection = convert(tmp_path / "c.zarr", paths, memory_limit="100kB", if_present="add")
    assert collection.n_obs == 600
    assert collection.obs([]).index.is_unique
    assert set(collection.obs()["src_path"]) == set(paths)


@pytest.mark.slow
def test_a_million_tiny_rows(tmp_path: Path) -> None:
    n_rows = 1_000_000
    rng = np.random.default_rng(0)
    present = rng.random((n_rows, 3)) < 0.4
    row, column = np.nonzero(present)
    indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    matrix = sparse.csr_matrix((row.astype(np.int32), column, indptr), shape=(n_rows, 3))  # its values say which row
    ad.AnnData(matrix).write_h5ad(tmp_path / "0.h5ad")
    collection = convert(
        tmp_path / "c.zarr", [tmp_path / "0.h5ad"], memory_limit="300MB", dataset_size=600_000, n_obs_per_chunk=1024
    )
    assert len(collection) == 2
    rows = collection.obs([]).index.to_numpy().astype(np.int64)
    assert np.array_equal(np.sort(rows), np.arange(n_rows))
    stored, expected = sparse.vstack([part.X for part in read(collection)]), matrix[rows]
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(stored, name), getattr(expected, name))


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", ["4GB", "1MB"])
def test_rows_of_60_000_values(tmp_path: Path, write: Write, memory_limit: str) -> None:
    rng = np.random.default_rng(0)
    n_genes, lengths = 62_710, [60_000, 0, 62_710, 1, 60_000]
    rows = [np.sort(rng.choice(n_genes, n, replace=False)) for n in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.integers(0, 70_000, indptr[-1]).astype(np.float32)
    cells = ad.AnnData(sparse.csr_matrix((values, np.concatenate(rows), indptr), shape=(5, n_genes)))
    path = write(cells, "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path], memory_limit=memory_limit, dataset_size=3)
    assert_holds(collection, {path: cells})


def test_pairwise_annotations_are_dropped_with_a_warning(tmp_path: Path, write: Write) -> None:
    cells = make_counts(0, 6)
    cells.obsp["distances"] = np.eye(6)
    with pytest.warns(UserWarning, match=r"Dropping obsp/distances: .* as by `obsp='distances'`"):
        convert(tmp_path / "c.zarr", [write(cells, "0.h5ad")])


def test_an_empty_collection(tmp_path: Path) -> None:
    collection = DatasetCollection(tmp_path / "c.zarr")
    assert collection.is_empty
    assert len(collection) == collection.n_obs == collection.n_vars == 0
    assert list(collection) == []
    assert collection.obs().empty
    assert repr(collection).endswith("c.zarr, empty")
    assert not (tmp_path / "c.zarr").exists()


def test_repr_and_obs(tmp_path: Path, write: Write) -> None:
    collection = convert(tmp_path / "c.zarr", [write(make_cells(0, 12), "0.h5ad")], dataset_size=5)
    assert repr(collection).endswith("c.zarr, 12 rows x 30 variables in 3 datasets")
    assert list(collection.obs("dose").columns) == ["dose"]
    with pytest.raises(KeyError, match=r"got \['labels'\]; did you mean 'label'\? There are 'age', 'batch', 'dose'"):
        collection.obs(["dose", "labels"])
    assert list(collection.obs([]).columns) == []
    assert len(collection.obs([])) == 12


@pytest.mark.slow
def test_real_files(tmp_path: Path, shared_data: Path) -> None:
    for name in ("pbmc68k_reduced.h5ad", "tenx_10k_subset.h5ad"):
        path = str(shared_data / name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one of them repeats names of variables
            cells = ad.read_h5ad(path)
        collection = convert(tmp_path / f"{name}.zarr", [path], dataset_size=6000)
        assert_holds(collection, {path: cells})


def test_zarr_config_stays_the_users(tmp_path: Path, write: Write) -> None:
    before = zarr.config.get("codec_pipeline")
    convert(tmp_path / "c.zarr", [write(make_counts(0, 30), "0.h5ad")], zarr_compressor=[zarr.codecs.ZstdCodec()])
    assert zarr.config.get("codec_pipeline") == before


@pytest.mark.slow
def test_a_pipeline_that_users_choose_for_all_arrays(tmp_path: Path, write: Write) -> None:
    cells = make_cells(0, 30)
    cells.obs["nothing"], cells.obs["empty"] = 0, ""
    path = write(cells, "0.h5ad")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        collection = convert(tmp_path / "c.zarr", [path], shuffle=False)
        assert_holds(collection, {path: cells})
        assert collection.verify().ok
        (rows,) = Loader(batch_size=30, preload_nchunks=1, chunk_size=30).use_collection(collection)
        np.testing.assert_array_equal(rows["obs"]["nothing"], 0)
        collection.reshuffle()
        assert len(collection.obs()) == 30


def test_column_numbers_that_do_not_ascend_are_stored_as_they_are(tmp_path: Path, write: Write) -> None:
    cells = make_cells(0, 40)
    whole = cells.X.copy()
    for row in range(40):
        part = slice(*cells.X.indptr[row : row + 2])
        cells.X.indices[part], cells.X.data[part] = whole.indices[part][::-1], whole.data[part][::-1]
    cells.X.has_sorted_indices = False
    path = write(cells, "0.h5ad")
    collection = convert(tmp_path / "c.zarr", [path], shuffle=False)
    (group,) = collection
    assert "indices_before" not in group["X"]
    assert "indices_before" in group["layers/twice"]
    np.testing.assert_array_equal(group["X/indices"][:], cells.X.indices)
