"""What a loader holds: sizes, dtypes, columns, and that datasets fit together."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import sparse_dataset, write_elem

from annbatch import Loader
from annbatch._anndata.dataset import matrix_dataset, stored_dataset
from annbatch._elements.csr import CsrElement
from annbatch._elements.dense import DenseElement
from annbatch._elements.form import MatrixForm
from annbatch._loading.datasets import Datasets
from annbatch._loading.selection import Selection


def datasets(dtype=None, **options) -> Datasets:
    return Datasets(Selection(**options), MatrixForm(dtype=dtype))


CSR = sp.csr_matrix(np.eye(4, 3, dtype="f4"))
OBS = pd.DataFrame({"type": pd.Categorical(list("aabb")), "n": range(4)})
VAR = pd.DataFrame({"chr": ["1", "2", "X"]}, index=["g1", "g2", "g3"])


def test_sizes_add_up():
    held = datasets()
    assert (held.count, held.n_obs) == (0, 0)
    assert held.starts.tolist() == [0]
    for matrix in (CSR, CSR[:0], CSR[:1]):
        held.add_all([matrix_dataset(matrix, None, None)])
    assert (held.count, held.n_obs, held.n_vars) == (3, 5, 3)
    assert held.starts.tolist() == [0, 4, 4, 5]
    assert held.starts.dtype == np.int64
    assert held.first_type is sp.csr_matrix


def test_the_dtype_holds_the_values_of_all():
    held = datasets()
    held.add_all([matrix_dataset(CSR.astype("u2"), None, None)])
    held.add_all([matrix_dataset(CSR.astype("i4"), None, None)])
    assert held.elements()["X"].dtype == np.int32
    assert datasets(dtype=np.dtype("f8")).n_obs == 0
    chosen = datasets(dtype=np.dtype("f8"))
    chosen.add_all([matrix_dataset(CSR, None, None)])
    assert chosen.elements()["X"].dtype == np.float64


def test_sparse_and_dense_elements():
    sparse, dense = datasets(), datasets()
    sparse.add_all([matrix_dataset(CSR, None, None)])
    dense.add_all([matrix_dataset(np.zeros((4, 3, 2)), None, None)])
    assert isinstance(sparse.elements()["X"], CsrElement)
    element = dense.elements()["X"]
    assert isinstance(element, DenseElement)
    assert element.item == (3, 2)


def test_annotations():
    held = datasets()
    assert held.obs() is None
    assert held.categories() == {}
    held.add_all([matrix_dataset(CSR, OBS, VAR)])
    held.add_all([matrix_dataset(CSR, OBS.assign(type=pd.Categorical(list("bbcc"))), VAR)])
    pd.testing.assert_frame_equal(held.var, VAR)
    assert {name: list(values) for name, values in held.categories().items()} == {"type": ["a", "b", "c"]}
    assert held.obs().columns == ["type", "n"]


def test_what_was_refused_leaves_no_trace():
    held = datasets()
    held.add_all([matrix_dataset(CSR, OBS, VAR)])
    for bad in (
        (CSR, None, VAR),
        (CSR, OBS, VAR.rename(index={"g1": "g0"})),
        (CSR, OBS.rename(columns={"n": "m"}), VAR),
        (CSR.toarray(), OBS, VAR),
        (CSR[:, :2], OBS, VAR[:2]),
    ):
        with pytest.raises(ValueError, match="must"):
            held.add_all([matrix_dataset(*bad)])
    assert (held.count, held.n_obs) == (1, 4)
    held.add_all([matrix_dataset(CSR, OBS, VAR)])
    assert held.n_obs == 8


def test_a_first_dataset_that_was_refused_leaves_no_trace():
    held = datasets(obs_columns=["q"])
    with pytest.raises(KeyError, match="q"):
        held.add_all([matrix_dataset(CSR, OBS, VAR)])
    assert (held.count, held.var) == (0, None)
    with pytest.raises(ValueError, match="`dataset_type` is known once"):
        _ = held.first_type


def test_a_stored_anndata(tmp_path):
    group = zarr.open_group(tmp_path, mode="w")
    obs = OBS.set_index(np.array(list("wxyz")))
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "d", ad.AnnData(CSR, obs=obs, var=VAR))
        write_elem(group, "bare", ad.AnnData(CSR, var=VAR))
    held = datasets()
    held.add_all([stored_dataset(group["d"])])
    pd.testing.assert_frame_equal(held.var, VAR)
    assert (held.n_obs, held.first_type) == (4, zarr.Group)
    assert held.obs().columns == ["type", "n"]
    with pytest.raises(ValueError, match="`obs` must be given for all datasets or for none"):
        held.add_all([stored_dataset(group["bare"])])  # obs without columns counts as none
    wrapped = datasets()
    wrapped.add_all([matrix_dataset(sparse_dataset(group["d/X"]), obs, VAR)])
    assert wrapped.n_obs == 4


@pytest.mark.parametrize("length", [3, 5])
def test_var_of_arrays_of_many_dimensions_has_any_length(length):
    """What it annotates is the user's choice: pixels, or what the images were made of."""
    var = pd.DataFrame(index=[str(number) for number in range(length)])
    images = np.arange(48.0).reshape(4, 3, 2, 2)
    loader = Loader(batch_size=4).add_datasets([images, images + 1], var=[var, var])
    first, second = loader
    assert loader.n_vars == 3
    assert first["var"].equals(var)
    np.testing.assert_array_equal(np.concatenate([first["X"], second["X"]]), np.concatenate([images, images + 1]))
    if length == 5:
        with pytest.raises(ValueError, match=r"one row per column of `X` \(3\), got 5"):
            Loader(var_names=["0"]).add_dataset(images, var=var)
