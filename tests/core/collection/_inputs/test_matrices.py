"""Matrices as other programs write them: repeated columns, damaged pointers."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError, StoreError

from ..conftest import dense, make_counts, read

Write = Callable[..., str]


def rows_of(collection: DatasetCollection) -> np.ndarray:
    """Return X of all rows, as a loader yields it."""
    n = collection.n_obs
    return dense(next(iter(Loader(batch_size=n, chunk_size=n, preload_nchunks=1).use_collection(collection)))["X"])


def repeating(kind: str, dtype: str) -> ad.AnnData:
    """Return a matrix whose rows, or columns, hold some places more than once."""
    data, indptr = np.array([1, 2, 3, 5, 200, 100, 7, 6], dtype), [0, 4, 4, 6, 8]
    other = [3, 1, 1, 0, 2, 2, 0, 3]  # not sorted
    if kind == "csr":
        return ad.AnnData(sparse.csr_matrix((data, other, indptr), shape=(4, 5)))
    return ad.AnnData(sparse.csc_matrix((data, other, indptr), shape=(5, 4)))


@pytest.mark.parametrize("memory_limit", ["4GB", 1])
@pytest.mark.parametrize("with_genes", [False, True])
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_values_of_repeated_columns_are_added_up(
    tmp_path: Path, write: Write, kind: str, with_genes: bool, memory_limit: int | str
) -> None:
    cells = repeating(kind, "float32")
    path = write(cells, "a.h5ad")
    subset = cells.var_names[::-1] if with_genes else None
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([path], shuffle=False, var_subset=subset, memory_limit=memory_limit, progress=False)

    expected = cells.X.toarray()[:, :: -1 if with_genes else 1]
    assert np.array_equal(rows_of(collection), expected)
    (stored,) = read(collection)
    assert stored.X.has_canonical_format
    # Wide enough for the sum: a reader that knows nothing of narrowing sees it too.
    assert np.array_equal(stored.X.toarray(), expected)


def test_a_sum_beyond_the_integers_of_the_inputs_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(repeating("csr", "uint8"), "a.h5ad")
    with pytest.raises(StoreError, match=r"`X` of .*a.h5ad must hold integers that are exact in uint8, .*, got 300"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
    floats = repeating("csr", "float32")
    floats.obs_names = list("efgh")
    other = write(floats[:2].copy(), "b.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([path, other], shuffle=False, progress=False)
    assert rows_of(collection)[:4].sum() == 324


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_pointers_that_do_not_begin_at_0_are_refused(tmp_path: Path, write: Write, kind: str) -> None:
    path = write(repeating(kind, "float32"), "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/indptr"][0] = 2
    with pytest.raises(CorruptDataError, match=r"`X` of .*a.h5ad must have an `indptr` that ascends from 0"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)


def big_endian(kind: str, path: Path, part: str) -> tuple[str, np.ndarray]:
    """Write a matrix with one array that is big-endian."""
    cells = make_counts(0, 12)
    counts = cells.X.toarray()
    cells.X = {"dense": counts, "csr": sparse.csr_matrix(counts), "csc": sparse.csc_matrix(counts)}[kind]
    cells.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        whole, attributes = file[part][...], dict(file[part].attrs)
        del file[part]
        file[part] = whole.astype(whole.dtype.newbyteorder(">"))
        file[part].attrs.update(attributes)
    return str(path), counts


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("kind", "part"), [("dense", "X"), *itertools.product(["csr", "csc"], ["X/data", "X/indices", "X/indptr"])]
)
def test_big_endian_arrays(tmp_path: Path, kind: str, part: str, loaded: bool) -> None:
    path, counts = big_endian(kind, tmp_path / "a.h5ad", part)
    if loaded and part == "X/data":
        pytest.skip("SciPy has no such matrices")
    load = ad.read_h5ad if loaded else None
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([path], load_adata=load, shuffle=False, progress=False)
    assert np.array_equal(rows_of(collection), counts)
    if kind != "csc":
        with h5py.File(path) as file:
            batch = next(iter(Loader(batch_size=12, chunk_size=12, preload_nchunks=1).add_adata(file)))
        assert np.array_equal(dense(batch["X"]), counts)


@pytest.mark.parametrize("memory_limit", ["4GB", 1])
@pytest.mark.parametrize("shape", [(1000, 6), (1000, 4, 3)])
@pytest.mark.parametrize(
    ("rows", "storage"),
    [
        (64, {"compressors": None}),
        (64, {"compressors": zarr.codecs.BloscCodec(cname="lz4"), "shards": 256}),
        (7, {"compressors": zarr.codecs.ZstdCodec()}),
        (1000, {"compressors": zarr.codecs.BloscCodec(cname="zstd", blocksize=512)}),
    ],
)
def test_dense_arrays_of_zarr(
    tmp_path: Path, rows: int, storage: dict[str, Any], shape: tuple[int, ...], memory_limit: int | str
) -> None:
    values = np.random.default_rng(0).integers(0, 200, shape).astype(np.int16)
    values[128:256] = 0  # and no chunk is stored
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata: that it will shard
        ad.io.write_elem(root, "/", ad.AnnData(np.zeros((1000, 6)), obsm={"x": np.zeros(shape)}))
    del root["obsm/x"]
    grid = {key: (n, *shape[1:]) for key, n in {"chunks": rows, **storage}.items() if key in ("chunks", "shards")}
    stored = root.create_array("obsm/x", shape=shape, dtype="i2", fill_value=0, **(storage | grid))
    stored[:] = values
    stored.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([tmp_path / "a.zarr"], shuffle=False, memory_limit=memory_limit, progress=False)
    batch = next(iter(Loader(batch_size=1000, keys=("obsm/x",)).use_collection(collection)))
    assert np.array_equal(batch["obsm"]["x"], values)


@pytest.mark.parametrize("memory_limit", ["4GB", 1])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_dense_arrays_in_fortran_order(tmp_path: Path, zarr_format: int, memory_limit: int | str) -> None:
    values = np.arange(36.0).reshape(12, 3) / 4
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata: that it will shard
        ad.io.write_elem(root, "/", ad.AnnData(np.zeros((12, 3))))
    del root["X"]
    order = {"order": "F"} if zarr_format == 2 else {"filters": [zarr.codecs.TransposeCodec(order=(1, 0))]}
    root.create_array("X", data=values, chunks=(5, 2), **order).attrs.update(
        {"encoding-type": "array", "encoding-version": "0.2.0"}
    )
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([tmp_path / "a.zarr"], shuffle=False, memory_limit=memory_limit, progress=False)
    assert np.array_equal(rows_of(collection), values)
    batch = next(iter(Loader(batch_size=12, chunk_size=12, preload_nchunks=1).add_adata(root)))
    assert np.array_equal(batch["X"], values)


@pytest.mark.parametrize(
    "value", [np.array([["a"]] * 3), np.rec.fromarrays([range(3)], names=["a"]), np.ones((3, 1), np.longdouble)]
)
@pytest.mark.parametrize("loaded", [False, True])
def test_elements_that_are_no_matrices_are_named_with_the_way_out(
    tmp_path: Path, write: Write, value: np.ndarray, loaded: bool
) -> None:
    cells = make_counts(0, 3)
    cells.obsm["m"] = value
    path = write(cells, "a.h5ad")
    with pytest.raises(StoreError, match=r"`obsm/m` of .*a.h5ad must be .*: convert, rename or remove it"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas(
            [path], load_adata=ad.read_h5ad if loaded else None, progress=False
        )


@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_a_missing_part_is_named(tmp_path: Path, write: Write, kind: str, part: str) -> None:
    path = write(repeating(kind, "float32"), "a.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"][part]
    with pytest.raises(CorruptDataError, match=r"`X` of .*a.h5ad cannot be read, "):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
    if kind == "csr":
        with h5py.File(path) as file, pytest.raises(CorruptDataError, match=r"`X` of .*a.h5ad cannot be read"):
            Loader(batch_size=1, keys="X").add_adata(file)


@pytest.mark.parametrize("part", ["indices", "indptr"])
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_numbers_of_places_that_are_no_integers_are_refused(tmp_path: Path, write: Write, kind: str, part: str) -> None:
    path = write(repeating(kind, "float32"), "a.h5ad")
    with h5py.File(path, "r+") as file:
        floats = file["X"][part][...].astype(float)
        del file["X"][part]
        file["X"][part] = floats
    with pytest.raises(CorruptDataError, match=rf"`X` of .*a.h5ad must have integers .* got float64 .* in `{part}`"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
