"""Elements: any of an AnnData's, sparse and dense, side by side in one batch, of the same rows."""

from __future__ import annotations

import pickle

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import write_elem

from annbatch import DatasetCollection, Loader
from annbatch._anndata.dataset import stored_dataset
from annbatch._elements.form import MatrixForm
from annbatch._loading.datasets import Datasets
from annbatch._loading.selection import Selection
from annbatch.abc import Adapter
from annbatch.batch import CSR

KEYS = ("X", "layers/counts", "layers/scaled", "obsm/X_pca", "obsm/image", "obsm/hits", "obsm/protein", "obs")
SIZES = (40, 1, 30)


def annotated(n: int, seed: int) -> ad.AnnData:
    """Return an AnnData that has every sort of element."""
    rng = np.random.default_rng(seed)
    names = [f"cell{seed}-{i}" for i in range(n)]
    types = pd.Categorical(rng.choice(list("ab"), n), categories=list("ab"))
    return ad.AnnData(
        sp.random(n, 12, 0.3, format="csr", dtype="f4", random_state=seed),
        obs=pd.DataFrame({"type": types, "n": rng.integers(0, 9, n)}, index=names),
        var=pd.DataFrame(index=[f"g{i}" for i in range(12)]),
        layers={"counts": sp.csr_matrix(rng.poisson(0.4, (n, 12)).astype("u1")), "scaled": rng.normal(size=(n, 12))},
        obsm={
            "X_pca": rng.normal(size=(n, 3)).astype("f4"),
            "image": rng.integers(0, 255, (n, 2, 4, 3)).astype("u1"),
            "hits": sp.random(n, 5, 0.4, format="csr", dtype="f8", random_state=seed),
            "protein": pd.DataFrame({"cd4": rng.normal(size=n), "cd8": range(n)}, index=names),
        },
    )


ADATAS = [annotated(n, seed) for seed, n in enumerate(SIZES)]
WHOLE = ad.concat(ADATAS, merge="same")


def options(**more):
    return {
        "batch_size": 8,
        "chunk_size": 4,
        "preload_nchunks": 4,
        "shuffle": True,
        "seed": 0,
        "return_index": True,
    } | more


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    with ad.settings.override(auto_shard_zarr_v3=False):
        for i, adata in enumerate(ADATAS):
            adata.write_h5ad(folder / f"{i}.h5ad", compression="gzip" if i else None)
            write_elem(zarr.open_group(folder / f"{i}.zarr", mode="w"), "/", adata)
    paths = [folder / f"{i}.h5ad" for i in range(len(ADATAS))]
    DatasetCollection(folder / "collection.zarr").add_adatas(paths, shuffle=False, progress=False, dataset_size="4KB")
    return folder


def lazily(path):
    pytest.importorskip("xarray", reason="reading lazily needs xarray")
    return ad.experimental.read_lazy(path)


def in_collection(loader, folder, **how):
    return loader.use_collection(DatasetCollection(folder / "collection.zarr", mode="r"), **how)


SOURCES = {
    "memory": lambda loader, folder: loader.add_adatas(ADATAS),
    "views": lambda loader, folder: loader.add_adata(WHOLE[:41]).add_adata(WHOLE[41:]),
    "backed": lambda loader, folder: loader.add_adatas(
        [ad.read_h5ad(folder / f"{i}.h5ad", backed="r") for i in range(len(SIZES))]
    ),
    "lazy h5ad": lambda loader, folder: loader.add_adatas([lazily(folder / f"{i}.h5ad") for i in range(len(SIZES))]),
    "lazy zarr": lambda loader, folder: loader.add_adatas([lazily(folder / f"{i}.zarr") for i in range(len(SIZES))]),
    "collection": in_collection,
    "load_adata": lambda loader, folder: in_collection(loader, folder, load_adata=ad.io.read_elem),
    "load_adata, lazily": lambda loader, folder: in_collection(loader, folder, load_adata=lazily),
}


@pytest.mark.parametrize("add", SOURCES.values(), ids=SOURCES)
@pytest.mark.filterwarnings("ignore:Did not read zarr as consolidated")
def test_every_element_has_the_rows_that_anndata_gives(add, folder):
    with add(Loader(keys=KEYS, **options()), folder) as loader:
        assert loader.n_obs == sum(SIZES)
        rows = []
        for batch in loader:
            index = batch["index"]
            rows += index.tolist()
            same(batch["X"], WHOLE.X[index])
            assert set(batch["layers"]) == {"counts", "scaled"}
            same(batch["layers"]["counts"], WHOLE.layers["counts"][index])
            same(batch["layers"]["scaled"], WHOLE.layers["scaled"][index])
            for name in ("X_pca", "image", "hits"):
                same(batch["obsm"][name], WHOLE.obsm[name][index])
            wanted = WHOLE.obsm["protein"].iloc[index]
            found = batch["obsm"]["protein"]
            pd.testing.assert_frame_equal(found, wanted, check_names=False)
            wanted = WHOLE.obs.iloc[index]
            pd.testing.assert_frame_equal(batch["obs"][wanted.columns], wanted, check_names=False)
            assert list(batch["var"].index) == list(WHOLE.var_names)
    assert sorted(rows) == list(range(sum(SIZES)))


def same(found, wanted) -> None:
    assert found.dtype == wanted.dtype
    assert sp.issparse(found) == sp.issparse(wanted)
    assert found.shape == wanted.shape
    for name in ("data", "indices", "indptr") if sp.issparse(wanted) else ():
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    if not sp.issparse(wanted):
        assert found.tobytes() == np.ascontiguousarray(wanted).tobytes()


class Marking(Adapter):
    """Says of each array how it was handed over."""

    name = "marking"

    def dense(self, array):
        return "dense", array

    def csr(self, matrix: CSR):
        return "csr", matrix.to_scipy()


def test_each_element_is_converted():
    loader = Loader(keys=KEYS, to=Marking(), obs_as="arrays", **options()).add_adatas(ADATAS)
    batch = next(iter(loader))
    kinds = {
        "X": batch["X"][0],
        **{name: value[0] for name, value in batch["layers"].items()},
        **{name: batch["obsm"][name][0] for name in ("X_pca", "image", "hits")},
        "cd8": batch["obsm"]["protein"]["cd8"][0],
        "n": batch["obs"]["n"][0],
    }
    sparse = {"X", "counts", "hits"}
    assert kinds == {name: "csr" if name in sparse else "dense" for name in kinds}
    assert set(loader.categories) == {"type"}


def test_dtype_densify_and_columns_are_of_x_and_layers_only():
    names = ["g7", "g0", "g3"]
    loader = Loader(keys=KEYS, dtype="f8", densify=True, var_names=names, **options()).add_adatas(ADATAS)
    chosen = WHOLE[:, names]
    for batch in loader:
        index = batch["index"]
        same(batch["X"], chosen.X[index].astype("f8").toarray())
        same(batch["layers"]["counts"], chosen.layers["counts"][index].astype("f8").toarray())
        same(batch["layers"]["scaled"], chosen.layers["scaled"][index])
        for name in ("X_pca", "image", "hits"):
            same(batch["obsm"][name], WHOLE.obsm[name][index])
        assert list(batch["var"].index) == names


def test_without_x_and_without_obs(folder):
    loader = in_collection(Loader(keys="obsm/X_pca", **options()), folder)
    batch = next(iter(loader))
    assert list(batch) == ["obsm", "obs", "var", "index"]
    assert batch["obs"] is None
    assert batch["var"] is None
    with pytest.raises(ValueError, match="`n_vars` is known where `keys` have X or a layer"):
        _ = loader.n_vars
    layers = in_collection(Loader(keys=["layers/counts"], **options()), folder)
    assert layers.n_vars == 12
    assert list(layers.var.index) == list(WHOLE.var_names)


def test_all_elements_lie_in_one_window(folder):
    loader = in_collection(Loader(keys=KEYS, prefetch=0, **options(batch_size=16)), folder)
    next(iter(loader))
    alone = in_collection(Loader(keys=["obsm/image"], prefetch=0, **options(batch_size=16)), folder)
    next(iter(alone))
    assert loader.stats.peak_buffer_bytes > alone.stats.peak_buffer_bytes
    assert loader.stats.rows == alone.stats.rows == 16


def test_what_there_is_not():
    with pytest.raises(KeyError, match=r"got 'layers/raw'; dataset 0 has \['X', 'layers/counts', .*'obs'\]"):
        Loader(keys=("X", "layers/raw")).add_adatas(ADATAS)
    loader = Loader(keys=("X", "obsm/X_pca")).add_adata(ADATAS[0])
    lacking = ADATAS[1].copy()
    del lacking.obsm["X_pca"]
    with pytest.raises(KeyError, match="got 'obsm/X_pca'; dataset 1 has"):
        loader.add_adata(lacking)
    assert loader.n_obs == SIZES[0]
    with pytest.raises(ValueError, match="`keys` must name at least one element, got none"):
        Loader(keys=())
    with pytest.raises(ValueError, match=r"`keys` must name each element once, got \['X'\] twice"):
        Loader(keys=("X", "obs", "X"))


def test_a_matrix_here_and_a_data_frame_there():
    other = ADATAS[2].copy()
    other.obsm["protein"] = other.obsm["protein"].to_numpy()
    for first, second in ((ADATAS[0], other), (other, ADATAS[0])):
        with pytest.raises(ValueError, match=r"`obsm/protein` must be a .* in all datasets"):
            Loader(keys=("X", "obsm/protein")).add_adata(first).add_adata(second)


def test_a_collection_is_added_as_a_whole_or_not_at_all(folder):
    collection = DatasetCollection(folder / "collection.zarr", mode="r")
    parts = iter([ADATAS[0], ADATAS[1], ADATAS[2][:, :5].copy(), *[ADATAS[0]] * 9])
    loader = Loader(obs_join="inner", **options()).add_adata(ADATAS[0])
    with pytest.raises(ValueError, match="rows of one shape"):
        loader.use_collection(collection, load_adata=lambda group: next(parts))
    assert loader.n_obs == SIZES[0]
    loader.use_collection(collection)
    assert loader.n_obs == SIZES[0] + sum(SIZES)


def test_a_loader_of_many_elements_is_pickled(folder):
    loader = in_collection(Loader(keys=KEYS, **options()), folder)
    twin = pickle.loads(pickle.dumps(loader))
    for one, other in zip(loader, twin, strict=True):
        np.testing.assert_array_equal(one["index"], other["index"])
        same(one["obsm"]["hits"], other["obsm"]["hits"])


def test_a_group_of_an_h5ad_file(folder):
    with h5py.File(folder / "0.h5ad") as file:
        held = Datasets(Selection(keys=KEYS), MatrixForm())
        held.add_all([stored_dataset(file)])
        assert held.n_obs == SIZES[0]
