"""Batches of other columns, and dense ones of sparse data: what pandas and SciPy make of the same rows, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec

from annbatch import Loader
from annbatch.errors import CorruptDataError


def matrix(n_rows: int, n_columns: int, dtype: str = "float32", seed: int = 0) -> sp.csr_matrix:
    x = sp.random(n_rows, n_columns, 0.2, "csr", dtype="float64", random_state=seed)
    x.data = np.ceil(x.data * 50)
    keep = np.ones(n_rows)
    keep[n_rows // 2] = 0  # a row that stores nothing
    x = sp.csr_matrix(sp.diags(keep) @ x)
    x.eliminate_zeros()
    x.sort_indices()  # as stores have them: the product leaves them as they come
    return x.astype(dtype)


def names(n: int, first: int = 0) -> pd.DataFrame:
    return pd.DataFrame(index=[f"gene{i}" for i in range(first, first + n)])


def stored(kind: str, x: Any, folder: Path) -> Any:
    """Return the matrix as it is read from a storage kind."""
    if kind == "memory":
        return x
    if kind == "h5ad":
        with h5py.File(folder / "x.h5", "w") as file:
            ad.io.write_elem(file, "X", x)
        return h5py.File(folder / "x.h5", "r")["X"]
    group = zarr.open_group(folder / "x.zarr", mode="w", zarr_format=2 if kind == "zarr 2" else 3)
    compressors = None if kind == "zarr 2" else BloscCodec(cname="lz4", shuffle="shuffle")
    if not sp.issparse(x):
        return group.create_array("X", data=x, chunks=(7, x.shape[1]), compressors=compressors)
    csr = group.create_group("X", attributes={"encoding-type": "csr_matrix", "shape": list(x.shape)})
    for name in ("data", "indices", "indptr"):
        chunk = 11 if name == "data" and kind == "zarr, unequal chunks" else 97
        csr.create_array(name, data=getattr(x, name), chunks=(chunk,), compressors=compressors)
    return csr


KINDS = ["memory", "zarr", "zarr, unequal chunks", "zarr 2", "h5ad"]
SELECTIONS = {
    "ascending": [f"gene{i}" for i in (2, 3, 17, 39)],
    "reordered": [f"gene{i}" for i in (30, 2, 39, 5, 4)],
    "all, reversed": [f"gene{i}" for i in reversed(range(40))],
    "one": ["gene7"],
}


def load(sources: list[tuple[Any, pd.DataFrame | None]], **options: Any) -> tuple[Any, np.ndarray, Loader]:
    loader = Loader(batch_size=16, chunk_size=4, preload_nchunks=8, shuffle=True, seed=1, return_index=True, **options)
    for x, var in sources:
        loader.add_dataset(x, var=var)
    batches = list(loader)
    x = [batch["X"] for batch in batches]
    return (
        sp.vstack(x).tocsr() if sp.issparse(x[0]) else np.concatenate(x),
        np.concatenate([b["index"] for b in batches]),
        loader,
    )


def same(got: Any, expected: Any) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if sp.issparse(got):
        assert (got.indptr == expected.indptr).all()
        assert (got.indices == expected.indices).all()
        assert got.data.tobytes() == expected.data.tobytes()
    else:
        assert got.tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_a_sparse_matrix(tmp_path: Path, kind: str, selection: str) -> None:
    x, var, wanted = matrix(70, 40), names(40), SELECTIONS[selection]
    got, index, loader = load([(stored(kind, x, tmp_path), var)], var_names=wanted)

    expected = x[:, var.index.get_indexer(wanted)][index]
    expected.sort_indices()
    same(got, expected)
    assert loader.n_vars == len(wanted)
    assert loader.var is not None
    assert loader.var.index.tolist() == wanted


@pytest.mark.parametrize("selection", [None, *SELECTIONS])
@pytest.mark.parametrize("kind", KINDS)
def test_dense_batches_of_a_sparse_matrix(tmp_path: Path, kind: str, selection: str | None) -> None:
    x, var = matrix(70, 40), names(40)
    wanted = None if selection is None else SELECTIONS[selection]
    got, index, _ = load([(stored(kind, x, tmp_path), var)], densify=True, var_names=wanted)

    dense = x.toarray()[index]
    same(got, dense if wanted is None else dense[:, var.index.get_indexer(wanted)])


@pytest.mark.parametrize("kind", ["memory", "zarr", "h5ad"])
def test_columns_of_a_dense_matrix(tmp_path: Path, kind: str) -> None:
    x, var, wanted = matrix(30, 40).toarray(), names(40), SELECTIONS["reordered"]
    got, index, _ = load([(stored(kind, x, tmp_path), var)], var_names=wanted)
    same(got, x[index][:, var.index.get_indexer(wanted)])


@pytest.mark.parametrize("densify", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("join", ["inner", "outer"])
@pytest.mark.parametrize("kind", ["memory", "zarr"])
def test_different_columns_are_joined_while_reading(tmp_path: Path, kind: str, join: str, densify: bool) -> None:
    (tmp_path / "1").mkdir()
    xs, vars_ = [matrix(33, 20, seed=1), matrix(21, 25, seed=2)], [names(20), names(25, first=10)[::-1]]
    sources = [
        (stored(kind, x, tmp_path / str(i) if i else tmp_path), v)
        for i, (x, v) in enumerate(zip(xs, vars_, strict=True))
    ]
    got, index, loader = load(sources, var_join=join, densify=densify)

    frames = [pd.DataFrame(x.toarray(), columns=v.index) for x, v in zip(xs, vars_, strict=True)]
    expected = pd.concat(frames, join=join).fillna(0)
    assert loader.var is not None
    assert loader.var.index.tolist() == expected.columns.tolist()  # no order keeps both: as they first appear
    rows = expected.to_numpy().astype("float32")[index]
    same(got, rows if densify else sp.csr_matrix(rows))
    assert loader.var["in_dataset_1"].tolist() == expected.columns.isin(vars_[1].index).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_joined_columns_keep_the_order_that_all_datasets_have(tmp_path: Path, kind: str) -> None:
    every, rng = names(40), np.random.default_rng(0)
    chosen = [np.sort(rng.permutation(40)[:n]) for n in (25, 30, 1, 20)]
    xs, vars_ = [matrix(30, len(one), seed=len(one)) for one in chosen], [every.iloc[one] for one in chosen]
    sources = []
    for i, (x, var) in enumerate(zip(xs, vars_, strict=True)):
        (tmp_path / str(i)).mkdir()
        sources.append((stored(kind, x, tmp_path / str(i)), var))
    got, index, loader = load(sources, var_join="outer")
    assert loader.var is not None
    for var in vars_:
        assert (np.diff(loader.var.index.get_indexer(var.index)) > 0).all()
    frames = [pd.DataFrame(x.toarray(), columns=v.index) for x, v in zip(xs, vars_, strict=True)]
    rows = pd.concat(frames)[loader.var.index].fillna(0).to_numpy().astype("float32")[index]
    same(got, sp.csr_matrix(rows))
    assert [list(loader.var[f"in_dataset_{i}"]) for i in range(4)] == [
        loader.var.index.isin(var.index).tolist() for var in vars_
    ]


def test_chosen_columns_of_an_outer_join(tmp_path: Path) -> None:
    xs, vars_ = [matrix(9, 5, seed=1), matrix(9, 5, seed=2)], [names(5), names(5, first=3)]
    got, index, _ = load(list(zip(xs, vars_, strict=True)), var_join="outer", var_names=["gene7", "gene0", "gene4"])

    expected = pd.concat([pd.DataFrame(x.toarray(), columns=v.index) for x, v in zip(xs, vars_, strict=True)]).fillna(0)
    same(got, sp.csr_matrix(expected[["gene7", "gene0", "gene4"]].to_numpy().astype("float32")[index]))


@pytest.mark.slow
@given(data=st.data())
def test_any_matrix_any_columns(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    n_rows, n_columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 30))
    x = matrix(n_rows, n_columns, data.draw(st.sampled_from(["uint8", "float32"])), seed=n_rows)
    wanted = data.draw(st.permutations(range(n_columns)))[: data.draw(st.integers(1, n_columns))]
    folder = tmp_path_factory.mktemp("x")
    densify, dtype = data.draw(st.booleans()), data.draw(st.sampled_from([None, "float64"]))
    source = stored(data.draw(st.sampled_from(KINDS[:3])), x, folder)
    got, index, _ = load(
        [(source, names(n_columns))], var_names=[f"gene{i}" for i in wanted], densify=densify, dtype=dtype
    )

    expected = x[index][:, wanted].astype(x.dtype if dtype is None else dtype)
    expected.sort_indices()
    same(got, expected.toarray() if densify else expected)


@pytest.mark.parametrize("order", ["file", "any"])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_rows_long_enough_to_be_looked_up_together(tmp_path: Path, kind: str, order: str) -> None:
    """As those of real cells are: more elements than a look-up takes, among more columns than it reaches."""
    x = sp.random(20, 9_000, 0.05, "csr", dtype="float32", random_state=0)
    x.sort_indices()
    chosen = np.random.default_rng(0).permutation(9_000)[:700]
    chosen = np.sort(chosen) if order == "file" else chosen
    expected, source = x[:, chosen], stored(kind, x, tmp_path)
    expected.sort_indices()
    for densify in (False, True):
        got, index, _ = load([(source, names(9_000))], var_names=[f"gene{i}" for i in chosen], densify=densify)
        same(got, expected[index].toarray() if densify else expected[index])


def test_repeated_columns_of_a_row_add_up(tmp_path: Path) -> None:
    x = sp.csr_matrix((np.array([1, 2, 4], "float32"), np.array([0, 0, 1], "int32"), np.array([0, 3])), shape=(1, 2))
    got, _, _ = load([(x, None)], densify=True)
    assert got.tolist() == [[3, 4]]


def test_column_numbers_beyond_the_matrix_are_an_error_and_not_an_address() -> None:
    x = matrix(20, 10)
    x.indices[5] = 10_000_000
    with pytest.raises(CorruptDataError, match=r"Column numbers of `X` must lie in 0\.\.9, got 0\.\.10000000: damaged"):
        load([(x, names(10))], densify=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"var_names": ["gene1", "nope"]}, KeyError, r"`var_names` must be variables of the data, got 1 .*: 'nope'"),
        ({"var_names": ["gene1", "gene1"]}, ValueError, r"`var_names` must not repeat names, got 1 that do: 'gene1'"),
        ({"var_names": ["gene1"], "dtype": "float16"}, ValueError, r"`dtype` must be bool, integer, .* got float16"),
    ],
)
def test_bad_columns(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load([(matrix(5, 4), names(4))], **options)


def test_joins_need_names_that_do_not_repeat() -> None:
    repeated = pd.DataFrame(index=["a", "b", "a"])
    with pytest.raises(
        ValueError, match=r"`var` of dataset 1 must not repeat names, got 1 that do: 'a'; `var_names_make_un"
    ):
        load([(matrix(4, 3), names(3)), (matrix(4, 3), repeated)], var_join="outer")
    with pytest.raises(ValueError, match=r"`var_names` must name one column each, got 1 that name several: 'a'"):
        load([(matrix(4, 3), repeated)], var_names=["a"])


def test_names_are_needed_to_choose_by_name() -> None:
    with pytest.raises(
        ValueError, match="`var_names` and `var_join` need `var` in every dataset, got none in dataset 0"
    ):
        load([(matrix(4, 3), None)], var_names=["a"])


def test_an_unknown_join() -> None:
    with pytest.raises(ValueError, match="`var_join` must be 'exact', 'inner' or 'outer', got 'left'"):
        Loader(var_join="left")


def test_images_have_no_columns_to_choose() -> None:
    with pytest.raises(ValueError, match="`var_names` and `var_join` need `X` of 2 dimensions, got 3"):
        load([(np.zeros((4, 3, 2)), names(3))], var_names=["gene1"])


@pytest.mark.parametrize("kind", ["zarr", "zarr 2", "h5ad"])
def test_column_numbers_beyond_a_stored_matrix(tmp_path: Path, kind: str) -> None:
    x = matrix(20, 10)
    x.indices[5] = 200
    with pytest.raises(CorruptDataError, match="olumn numbers"):
        load([(stored(kind, x, tmp_path), names(10))])


def test_datasets_whose_integers_no_dtype_holds() -> None:
    sources = [(matrix(4, 3, "int64"), names(3)), (matrix(4, 3, "uint64"), names(3))]
    with pytest.raises(ValueError, match="`dtype` must be given where datasets hold `X` of int64 and uint64"):
        load(sources)
    assert load(sources, dtype="int64")[0].dtype == np.int64


def test_float16_is_no_dtype_of_scipy() -> None:
    with pytest.raises(ValueError, match="`dtype` must not be float16 for SciPy matrices"):
        load([(matrix(4, 3), names(3))], dtype="float16")
