"""The loader end to end: every row as it was, whatever the matrices, and what the loader says of itself."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import Loader, write_sharded
from annbatch.samplers import SequentialSampler

from .conftest import MATRIX, check_epoch, random_matrix, stack

DTYPES = ["f4", "f8", "i8", "i4", "u2", "u8", "i1", "?", "c8"]


@st.composite
def sampling(draw):
    """Return arguments of a loader that fit together."""
    batch_size = draw(st.integers(1, 20))
    chunk_size = draw(st.sampled_from([1, 2, 7, 16, 32, 512]))
    preload = draw(st.integers(1, 5)) * batch_size // int(np.gcd(batch_size, chunk_size))
    return {
        "batch_size": batch_size,
        "chunk_size": chunk_size,
        "preload_nchunks": preload,
        "shuffle": draw(st.booleans()),
        "drop_last": draw(st.booleans()),
        "prefetch": draw(st.sampled_from([0, 1, "1KB", "1GB"])),
        "seed": draw(st.integers(0, 2**40)),
    }


@st.composite
def datasets(draw):
    """Return matrices of one width and dtype, empty ones among them."""
    sizes = draw(st.lists(st.one_of(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=4))
    sizes = sizes if sum(sizes) else [*sizes, 1]
    dtype, sparse = draw(st.sampled_from(DTYPES)), draw(st.booleans())
    density, n_columns = draw(st.sampled_from([0.0, 0.3, 1.0])), draw(st.integers(1, 20))
    return [random_matrix(i, n, n_columns, dtype, sparse=sparse, density=density) for i, n in enumerate(sizes)]


@given(datasets(), sampling())
def test_every_row_comes_back_exactly_and_once(matrices, arguments):
    with Loader(return_index=True, **arguments).add_datasets(matrices) as loader:
        first, second = (check_epoch(loader, stack(matrices), drop_last=arguments["drop_last"]) for _ in range(2))
    if not arguments["shuffle"]:
        assert first == second == list(range(len(first)))


@pytest.mark.slow
@settings(max_examples=12)
@given(datasets(), sampling(), st.integers(1, 9), st.data())
def test_every_row_of_a_store_comes_back_exactly_and_once(tmp_path_factory, matrices, arguments, n_obs_per_chunk, data):
    matrices = [matrix for matrix in matrices if matrix.dtype.kind != "c"] or [np.ones((3, 2))]
    matrices = [matrix for matrix in matrices if matrix.shape[0]] or [np.ones((3, 2))]
    root = zarr.open_group(tmp_path_factory.mktemp("stores"), mode="w")
    for i, matrix in enumerate(matrices):
        write_sharded(root, ad.AnnData(matrix), n_obs_per_chunk=n_obs_per_chunk, key=str(i))
    with Loader(return_index=True, **arguments) as loader:
        for i in range(len(matrices)):
            loader.add_dataset(root[f"{i}/X"])
        check_epoch(loader, stack(matrices), drop_last=arguments["drop_last"])


# Unusual data --------------------------------------------------------------------------------------------------------


def one_epoch(matrix, **arguments):
    arguments = {"batch_size": 4, "chunk_size": 2, "preload_nchunks": 4} | arguments
    with Loader(return_index=True, **arguments).add_dataset(matrix) as loader:
        check_epoch(loader, matrix)


def test_whole_batches_without_values():
    one_epoch(sp.csr_matrix((50, 7), dtype="f4"))
    one_epoch(sp.vstack([sp.csr_matrix((20, 7)), sp.csr_matrix(np.eye(7)), sp.csr_matrix((20, 7))], format="csr"))


def test_a_single_row_and_a_single_column():
    one_epoch(sp.csr_matrix(np.array([[0, 3.5, 0]])))
    one_epoch(np.array([[1], [2], [3]]))


def test_values_that_are_no_counts():
    huge = np.array([[0, np.iinfo("i8").min], [np.iinfo("i8").max, 2**53 + 1], [-1, 0]])
    one_epoch(huge)
    one_epoch(sp.csr_matrix(huge))
    one_epoch(sp.csr_matrix(np.array([[0, 2**64 - 1]], dtype="u8")))
    one_epoch(sp.csr_matrix(np.array([[0.1, -0.0, np.nan, np.inf, 5e-324, 1e308]])))


@pytest.mark.slow
def test_explicit_zeros_and_repeated_columns_stay_as_they_are_stored():
    matrix = sp.csr_matrix(([0, 5, 6, 0], [2, 1, 1, 0], [0, 3, 4]), shape=(2, 3))
    one_epoch(matrix)
    with Loader(batch_size=2, densify=True).add_dataset(matrix) as loader:
        np.testing.assert_array_equal(next(iter(loader))["X"], matrix.toarray())


@pytest.mark.parametrize("sparse", [True, False])
def test_datasets_without_rows_and_of_one_row(sparse):
    matrices = [random_matrix(i, n, 5, "f4", sparse=sparse) for i, n in enumerate([0, 1, 0, 9, 1, 0])]
    obs = [pd.DataFrame({"batch": pd.Categorical([str(i)] * m.shape[0])}) for i, m in enumerate(matrices)]
    loader = Loader(batch_size=3, chunk_size=3, preload_nchunks=2, shuffle=True, seed=0, return_index=True)
    loader.add_datasets(matrices, obs)
    check_epoch(loader, stack(matrices))
    found = pd.concat([batch["obs"].assign(row=batch["index"]) for batch in loader]).sort_values("row")
    assert found["batch"].tolist() == ["1", *"3" * 9, "4"]
    loader.close()


def test_dense_rows_of_many_dimensions():
    for shape in [(30,), (30, 2, 3), (30, 2, 1, 4)]:
        one_epoch(np.arange(np.prod(shape), dtype="i4").reshape(shape))


def test_datasets_of_different_dtypes_arrive_in_their_common_one():
    matrices = [random_matrix(0, 9, 4, "u2", sparse=True), random_matrix(1, 9, 4, "f8", sparse=True)]
    with Loader(batch_size=3, chunk_size=3, return_index=True).add_datasets(matrices) as loader:
        check_epoch(loader, stack(matrices).astype("f8"))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "c8"])
def test_dtype_is_that_of_the_values(dtype):
    matrix = sp.csr_matrix(np.arange(12, dtype="u1").reshape(4, 3))
    with Loader(batch_size=4, chunk_size=4, return_index=True, dtype=dtype).add_dataset(matrix) as loader:
        check_epoch(loader, matrix.astype(dtype))


@pytest.mark.parametrize("dtype", ["f2", "f4", "u1", "?"])
def test_densify_gives_a_dense_array(dtype):
    dense = np.arange(30).reshape(10, 3).astype(dtype)
    with Loader(batch_size=4, chunk_size=4, densify=True, dtype=dtype).add_dataset(
        sp.csr_matrix(dense.astype("f4"))
    ) as loader:
        found = [batch["X"] for batch in loader]
    assert all(x.dtype == np.dtype(dtype) and x.ctypes.data % 64 == 0 for x in found)
    np.testing.assert_array_equal(np.concatenate(found), dense)


# What it says of itself ----------------------------------------------------------------------------------------------


def test_properties():
    obs = pd.DataFrame({"type": pd.Categorical(["a", "b"] * 100 + ["a"] * 3), "n": np.arange(203)})
    var = pd.DataFrame(index=[f"gene{i}" for i in range(9)])
    sampler = SequentialSampler(5, 4, 10)
    loader = Loader(batch_sampler=sampler).add_dataset(MATRIX, obs, var)
    assert (loader.n_obs, loader.n_vars, loader.dataset_type) == (203, 9, sp.csr_matrix)
    assert loader.n_var == loader.n_vars  # the name of scverse annbatch
    assert loader.batch_sampler is sampler
    pd.testing.assert_frame_equal(loader.var, var)
    assert {name: list(c) for name, c in loader.categories.items()} == {"type": ["a", "b"]}
    assert repr(loader) == "Loader(1 dataset, 203 x 9, csr, memory, sampler=SequentialSampler, to=NumPy)"
    batch = next(iter(loader))
    assert list(batch) == ["X", "obs", "var", "index"]
    assert batch["var"] is loader.var
    assert batch["index"] is None
    assert next(iter(Loader(batch_size=1).add_dataset(MATRIX)))["obs"] is None


def test_obs_comes_in_the_order_of_the_rows():
    names = [f"cell{i}" for i in range(203)]
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(np.array(list("abc"))[np.arange(203) % 3]),
            "n": np.arange(203),
            "x": np.linspace(0, 1, 203),
            "name": names,
            "flag": np.arange(203) % 2 == 0,
            "maybe": pd.array([None if i % 5 == 0 else i for i in range(203)], dtype="Int64"),
            "missing": pd.Categorical([None if i % 4 == 0 else "z" for i in range(203)]),
        },
        index=names,
    )
    loader = Loader(batch_size=10, chunk_size=5, preload_nchunks=4, shuffle=True, return_index=True)
    for batch in loader.add_dataset(MATRIX, obs):
        pd.testing.assert_frame_equal(batch["obs"], obs.iloc[batch["index"]])
    arrays = Loader(
        batch_size=10, chunk_size=10, obs_as="arrays", obs_columns=["n", "type", "missing"], return_index=True
    )
    for batch in arrays.add_dataset(MATRIX, obs):
        assert list(batch["obs"]) == ["n", "type", "missing"]
        np.testing.assert_array_equal(batch["obs"]["n"], batch["index"])
        np.testing.assert_array_equal(arrays.categories["type"][batch["obs"]["type"]], obs["type"].iloc[batch["index"]])
        np.testing.assert_array_equal(batch["obs"]["missing"], np.where(batch["index"] % 4 == 0, -1, 0))
