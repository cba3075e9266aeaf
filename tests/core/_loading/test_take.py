"""Any rows of a loader as one batch."""

from __future__ import annotations

import itertools
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader, write_sharded
from annbatch.samplers import RandomSampler
from annbatch.transforms import NormalizeLog1p

N = 120


def cells(seed: int, n: int = N) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(0.5, (n, 9)).astype("u2")
    counts[::7] = 0
    obs = pd.DataFrame(
        {"kind": pd.Categorical(rng.choice(["a", "b", f"only {seed}"], n)), "depth": rng.random(n)},
        index=[f"cell {seed} {row}" for row in range(n)],
    )
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, obsm={"pca": rng.random((n, 3))})


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Rows in memory, in zarr and in HDF5."""
    folder = tmp_path_factory.mktemp("take")
    every = [cells(seed) for seed in range(3)]
    write_sharded(zarr.open_group(folder / "cells.zarr", mode="w"), every[1])
    every[2].write_h5ad(folder / "cells.h5ad", compression="gzip")
    with h5py.File(folder / "cells.h5ad") as file:
        yield every, [every[0], zarr.open_group(folder / "cells.zarr", mode="r"), file]


def loader_of(places, **settings) -> Loader:
    sizes = {"batch_size": 16, "chunk_size": 4, "preload_nchunks": 8}
    return Loader(**sizes | settings, keys=("X", "obs", "obsm/pca"), return_index=True).add_adatas(places)


def dense(x):
    return x.toarray() if sp.issparse(x) else x


def same(batch, other) -> bool:
    return (
        list(batch) == list(other)
        and np.array_equal(batch["index"], other["index"])
        and batch["X"].dtype == other["X"].dtype
        and type(batch["X"]) is type(other["X"])
        and np.array_equal(dense(batch["X"]), dense(other["X"]))
        and np.array_equal(batch["obsm"]["pca"], other["obsm"]["pca"])
        and batch["obs"].equals(other["obs"])
    )


@pytest.mark.slow
@given(st.lists(st.integers(0, 3 * N - 1), max_size=60))
def test_rows_come_in_the_given_order(stored, rows):
    every, places = stored
    batch = loader_of(places).take(rows)
    assert batch["index"].tolist() == rows
    np.testing.assert_array_equal(batch["X"].toarray(), np.concatenate([one.X.toarray() for one in every])[rows])
    np.testing.assert_array_equal(batch["obsm"]["pca"], np.concatenate([one.obsm["pca"] for one in every])[rows])
    obs = pd.concat([one.obs.astype({"kind": str}) for one in every]).iloc[rows]
    assert batch["obs"].index.tolist() == obs.index.tolist()
    assert batch["obs"]["kind"].astype(str).tolist() == obs["kind"].tolist()
    np.testing.assert_array_equal(batch["obs"]["depth"], obs["depth"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"densify": True, "dtype": "float32"},
        {"transform": NormalizeLog1p(1e4), "dtype": "float32"},
        {"var_names": ["7", "0", "3"]},
    ],
    ids=repr,
)
def test_the_rows_of_a_batch_make_that_batch_again(stored, settings):
    loader = loader_of(stored[1], shuffle=True, seed=0, **settings)
    assert all(same(batch, loader.take(batch["index"])) for batch in loader)


def test_rows_beyond_the_mask_are_rows_too(stored):
    loader = Loader(batch_sampler=RandomSampler(4, 8, 16, mask=slice(0, 40)), return_index=True)
    assert loader.add_adata(stored[0][0]).take([100])["index"] == [100]


def test_an_iteration_goes_on_where_it_was(stored):
    loader, other = (loader_of(stored[1], shuffle=True, seed=0) for _ in range(2))
    batches = iter(loader)
    for batch in other:
        assert same(next(batches), batch)
        state = loader.state_dict()
        loader.take([5, 4])
        assert loader.state_dict() == state
    loader.take([5])
    assert loader.epoch == 1


def test_many_threads_take_while_an_iteration_is_open(stored):
    loader = loader_of(stored[1], prefetch=1)
    batches = iter(loader)
    next(batches)
    rows = [np.random.default_rng(seed).integers(0, 3 * N, 50) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(loader.take, rows))
    again = loader_of(stored[1])
    assert all(same(batch, again.take(some)) for some, batch in zip(rows, taken, strict=True))
    assert 1 + sum(1 for _ in batches) == len(loader)
    assert loader.stats.batches == len(loader) + len(rows)


def test_a_pickled_or_closed_loader_takes(stored):
    loader = loader_of(stored[1])
    batch = loader.take(range(0, 3 * N, 7))
    loader.close()
    assert same(loader.take(batch["index"]), batch)
    assert same(pickle.loads(pickle.dumps(loader)).take(batch["index"].astype(">u2")), batch)


@pytest.mark.parametrize(
    ("rows", "error", "got"),
    [
        ([3, -1], ValueError, "0..359, got -1"),
        ([360], ValueError, "0..359, got 360"),
        (np.array([2**64 - 1], dtype="u8"), ValueError, f"0..359, got {2**64 - 1}"),
        ([1.0], TypeError, "`np.flatnonzero(mask)`), got float64 of shape (1,)"),
        (np.ones(3 * N, dtype=bool), TypeError, "`np.flatnonzero(mask)`), got bool of shape (360,)"),
        (3, TypeError, "one-dimensional array of row numbers"),
        ([[1], [2]], TypeError, "got int64 of shape (2, 1)"),
        ([[1], [2, 3]], TypeError, "array of row numbers in host memory"),
        (slice(3), TypeError, "one-dimensional array of row numbers"),
        ([2**70], TypeError, "got object of shape (1,)"),
    ],
)
def test_what_names_no_rows_is_refused(stored, rows, error, got):
    with pytest.raises(error, match=re.escape(got)):
        loader_of(stored[1]).take(rows)


def test_a_loader_without_rows_is_refused():
    with pytest.raises(ValueError, match="must have rows to iterate over, got 0 datasets with none"):
        Loader().take([])


def test_the_rows_are_the_user_s(stored):
    loader, rows = loader_of(stored[1]), np.array([4, 2])
    batch = loader.take(rows)
    rows[:] = 0
    kept = batch["X"].toarray()
    for more in itertools.repeat([9, 9], 5):
        loader.take(more)
    assert batch["index"].tolist() == [4, 2]
    np.testing.assert_array_equal(batch["X"].toarray(), kept)
