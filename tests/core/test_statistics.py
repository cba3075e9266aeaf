"""Statistics in one pass, against NumPy on the whole matrix."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

import annbatch
from annbatch import DatasetCollection, Loader, statistics
from annbatch.errors import CorruptDataError
from annbatch.samplers import RandomSampler, RowSet
from annbatch.transforms import NormalizeLog1p


def counts(n_rows: int = 300, n_columns: int = 40, dtype: str = "float32", most: float = 3.0) -> sp.csr_matrix:
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.gamma(0.2, most, n_columns), (n_rows, n_columns))
    dense[3], dense[:, 1] = 0, 0
    return sp.csr_matrix(dense.astype(dtype))


def collection_of(tmp_path, *matrices, **settings) -> DatasetCollection:
    paths = []
    for number, x in enumerate(matrices):
        names = [f"gene{column}" for column in range(number, number + x.shape[1])]
        obs = pd.DataFrame(index=[f"cell{number}_{row}" for row in range(x.shape[0])])
        paths.append(tmp_path / f"{number}.h5ad")
        ad.AnnData(x, obs=obs, var=pd.DataFrame(index=names)).write_h5ad(paths[-1])
    return DatasetCollection(tmp_path / "all.zarr").add_adatas(paths, shuffle=False, progress=False, **settings)


def check(found, x, *, ddof: int = 1, rows=None, rtol: float = 1e-12) -> None:
    dense = np.asarray(x.toarray() if sp.issparse(x) else x).astype(np.float64)
    n = len(dense)
    np.testing.assert_allclose(found.genes["mean"], dense.mean(axis=0), rtol=rtol)
    np.testing.assert_allclose(found.genes["variance"], dense.var(axis=0, ddof=ddof), rtol=rtol, atol=1e-300)
    np.testing.assert_allclose(found.genes["total"], dense.sum(axis=0), rtol=rtol)
    np.testing.assert_array_equal(found.genes["n_nonzero"], (dense != 0).sum(axis=0))
    np.testing.assert_allclose(found.cells["total"], dense.sum(axis=1), rtol=rtol)
    np.testing.assert_array_equal(found.cells["n_nonzero"], (dense != 0).sum(axis=1))
    np.testing.assert_array_equal(found.cells.index, np.arange(n) if rows is None else rows)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("most", [3, 1e5], ids=["small", "large"])
def test_a_collection_is_measured_as_numpy_does(tmp_path, most, ddof):
    x = counts(most=most)
    collection = collection_of(tmp_path, x, n_obs_per_chunk=4)

    found = statistics(collection, ddof=ddof)

    check(found, x, ddof=ddof)
    assert found.genes.index.tolist() == [f"gene{column}" for column in range(40)]
    np.testing.assert_array_equal(found.genes["total"], x.astype("f8").sum(axis=0).A1)  # integers are exact
    for data in (tmp_path / "all.zarr", tmp_path / "0.h5ad", collection.to_adata()):
        pd.testing.assert_frame_equal(statistics(data, ddof=ddof).genes, found.genes, check_names=False)
    assert annbatch.statistics is statistics


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray], ids=["sparse", "dense"])
def test_matrices_in_memory_of_every_dtype(form, dtype):
    x = counts().toarray() * {"f": 0.37, "i": -1}.get(dtype[0], 1)
    if form is sp.csr_matrix and dtype == "float16":
        pytest.skip("SciPy has no such matrices")
    x = x.astype(dtype)

    check(statistics(Loader().add_dataset(form(x))), x, rtol=1e-9)


def test_large_values_that_hardly_differ_lose_no_digits():
    x = 1e9 + np.random.default_rng(0).random((5000, 3))

    check(statistics(Loader().add_dataset(x)), x, rtol=1e-6)


def test_many_windows_are_joined(monkeypatch):
    monkeypatch.setattr("annbatch._elements.measured.MEASURED_ROWS", 16)
    monkeypatch.setattr("annbatch._elements.measured._DENSE_VALUES", 100)
    x = counts(most=100) * np.float32(1.1)

    check(statistics(Loader().add_dataset(x)), x, rtol=1e-9)
    check(statistics(Loader().add_dataset(x.toarray())), x, rtol=1e-9)


def test_more_rows_of_a_small_count_than_a_bit_field_holds():
    x = np.full((40_000, 2), 63, np.uint8)

    check(statistics(Loader().add_dataset(sp.csr_matrix(x))), x)
    check(statistics(Loader().add_dataset(x)), x)


@pytest.mark.parametrize(
    "rows",
    [RowSet(slice(10, 50)), np.arange(0, 300, 7), np.arange(300) % 3 == 0, RowSet([5, 3])],
    ids=["slice", "numbers", "mask", "set"],
)
def test_some_rows(tmp_path, rows):
    x = counts()
    collection = collection_of(tmp_path, x)
    numbers = np.asarray(RowSet(rows, 300))

    check(statistics(collection, rows=rows), x[numbers], rows=numbers)
    sampler = RandomSampler(4, 4, 16, mask=rows, rng=0)
    check(statistics(Loader(collection, batch_sampler=sampler)), x[numbers], rows=numbers)


@pytest.mark.parametrize("densify", [False, True])
def test_columns_and_joins_of_a_loader(tmp_path, densify):
    x = counts()
    paths = [tmp_path / "one", tmp_path / "two"]
    one, two = (collection_of(path, y) for path, y in zip((p.mkdir() or p for p in paths), (x, x[:, :30]), strict=True))
    names = ["gene7", "gene2", "gene39"]
    adatas = [one.to_adata(), two.to_adata()]

    check(statistics(Loader(one, var_names=names, densify=densify)), x[:, [7, 2, 39]])
    joined = statistics(Loader(var_join="outer", densify=densify).add_adatas(adatas))

    check(joined, sp.vstack([x, sp.hstack([x[:, :30], sp.csr_matrix((300, 10))])]))


@pytest.mark.parametrize("densify", [False, True])
def test_values_are_measured_as_the_loader_transforms_them(tmp_path, densify):
    collection = collection_of(tmp_path, counts())
    loader = Loader(collection, transform=NormalizeLog1p(1e4), batch_size=300, densify=densify)
    x = next(iter(loader))["X"]

    check(statistics(loader), x, rtol=1e-6)


def test_layers_and_embeddings_have_statistics_of_their_own():
    x, pca = counts(), np.random.default_rng(0).normal(size=(300, 5))
    adata = ad.AnnData(x, layers={"half": x / 2}, obsm={"X_pca": pca})
    loader = Loader(keys=["X", "layers/half", "obsm/X_pca", "obs"], transform=NormalizeLog1p()).add_adata(adata)

    check(statistics(loader, key="obsm/X_pca"), pca, rtol=1e-9)  # which is not transformed
    check(statistics(Loader(keys=["layers/half"]).add_adata(adata), key="layers/half"), x / 2)
    with pytest.raises(KeyError, match=r"`key` must be a matrix that the loader reads, got 'obs'.*'obsm/X_pca'"):
        statistics(loader, key="obs")


@pytest.mark.filterwarnings("ignore:zarr v3 autosharding")  # anndata's own default
@pytest.mark.parametrize("stored", ["memory", "zarr", "h5ad"])
def test_a_column_that_a_row_repeats_has_the_sum_of_its_values(tmp_path, stored):
    data, indices = np.array([200, 100, 1, 7, 5, 0], np.uint8), np.array([2, 2, 0, 1, 0, 2])
    x = sp.csr_matrix((data, indices, [0, 3, 3, 6]), shape=(3, 3))
    adata = ad.AnnData(x)
    if stored == "zarr":
        root = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=3)
        ad.io.write_elem(root, "x", adata)
        adata = root["x"]
    elif stored == "h5ad":
        adata.write_h5ad(tmp_path / "x.h5ad")
        adata = tmp_path / "x.h5ad"

    check(statistics(Loader().add_adata(adata)), np.array([[1, 0, 300], [0, 0, 0], [5, 7, 0]]))
    assert x.data.tolist() == data.tolist()


def test_infinite_and_missing_values_reach_their_own_column_only():
    x = np.ones((4, 3))
    x[1, 0], x[2, 1] = np.inf, np.nan

    found = statistics(Loader().add_dataset(x)).genes

    assert found["mean"].isna().tolist() == [False, True, False]
    assert found["mean"][0] == np.inf
    assert found["variance"].isna().tolist() == [True, True, False]
    assert found.loc[2].tolist() == [1, 0, 4, 4]


def test_the_variance_of_too_few_rows_is_missing():
    found = statistics(Loader().add_dataset(np.array([[1, 2]])), rows=[0])

    assert found.genes["variance"].isna().all()
    assert found.genes["mean"].tolist() == [1, 2]
    assert statistics(Loader().add_dataset(np.eye(3)), ddof=4).genes["variance"].isna().all()
    with pytest.raises(ValueError, match="`ddof` must be an integer that is not negative, got -1"):
        statistics(Loader().add_dataset(np.ones((2, 2))), ddof=-1)


def test_rows_that_a_modality_lacks_are_left_out():
    mudata = pytest.importorskip("mudata", reason="needs mudata: pip install mudata")
    if hasattr(mudata, "set_options"):
        mudata.set_options(pull_on_update=False)  # the default from 0.4 on
    x = counts(20, 4)
    whole = ad.AnnData(x, obs=pd.DataFrame(index=[f"c{row}" for row in range(20)]))
    part = ad.AnnData(x[::2], obs=pd.DataFrame(index=[f"c{row}" for row in range(0, 20, 2)]))
    part.var_names = [f"p{column}" for column in range(4)]
    loader = Loader(keys=["mod/part/X"]).add_adata(mudata.MuData({"rna": whole, "part": part}))

    check(statistics(loader, key="mod/part/X"), x[::2], rows=np.arange(0, 20, 2))


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match=r"`X` must have 2 dimensions.*got 3"):
        statistics(Loader().add_dataset(np.ones((3, 2, 2))))
    with pytest.raises(TypeError, match="`X` must hold real numbers to be measured, got complex128"):
        statistics(Loader().add_dataset(np.ones((3, 2), complex)))
    with pytest.raises(ValueError, match="must have rows"):
        statistics(Loader())
    with pytest.raises(TypeError, match="`key` must be the key of one matrix"):
        statistics(Loader(), key=["X"])
    with pytest.raises(TypeError, match="got None"):
        statistics(None)
    with pytest.raises(FileNotFoundError):
        statistics("nothing.zarr")
    with pytest.raises(ValueError, match=r"`rows\.stop` must be at most"):
        statistics(Loader().add_dataset(np.ones((3, 2))), rows=slice(0, 5))


@pytest.mark.parametrize("transform", [None, NormalizeLog1p()])
def test_column_numbers_beyond_the_matrix_are_damage(transform):
    x = counts(20, 4)
    x.indices[0] = 99

    with pytest.raises((CorruptDataError, ValueError), match=r"[Cc]olumn number"):
        statistics(Loader(transform=transform).add_dataset(x))


def test_it_leaves_the_position_of_a_loader_alone(tmp_path):
    loader = Loader(collection_of(tmp_path, counts()), batch_size=32, shuffle=True, seed=0)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()

    found = statistics(loader)

    assert loader.state_dict() == state
    assert sum(len(batch["X"].indptr) - 1 for batch in batches) == 268
    assert repr(found).splitlines()[0] == f"Statistics of X: 300 rows x 40 columns, {found.share_nonzero:.1%} not zero"
