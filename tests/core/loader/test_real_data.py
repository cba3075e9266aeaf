"""Real files, converted and loaded: every row is its source's row."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annbatch import DatasetCollection, Loader

# anndata's own, whenever it reads a file with repeated gene names, as one of these is.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Variable names are not unique")]

FILES = ["pbmc68k_reduced.h5ad", "tenx_10k_subset.h5ad"]


class Converted:
    """A file, and the collection that was made of it."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.source = ad.read_h5ad(path)
        self.collection = DatasetCollection(folder / "cells.zarr").add_adatas(
            [path], rng=np.random.default_rng(0), progress=False
        )
        obs = self.collection.obs()
        assert (obs["src_path"].astype(str) == str(path)).all()
        # Where each row of the collection came from: names are unique in both files.
        assert self.source.obs_names.is_unique
        self.origin = self.source.obs_names.get_indexer(obs.index)
        assert sorted(self.origin) == list(range(self.source.n_obs))


@pytest.fixture(scope="module", params=FILES)
def converted(request, shared_data, tmp_path_factory) -> Converted:
    path = shared_data / request.param
    if not path.exists():
        pytest.skip(f"the real data is not on this machine: no file {path}")
    return Converted(path, tmp_path_factory.mktemp("real"))


def stacked(batches: list) -> tuple:
    """Return the values, annotations and row numbers of all batches, in order."""
    x = [batch["X"] for batch in batches]
    return (
        sp.vstack(x, format="csr") if sp.issparse(x[0]) else np.concatenate(x),
        pd.concat([batch["obs"] for batch in batches]),
        np.concatenate([batch["index"] for batch in batches]),
    )


def check(converted: Converted, batches: list) -> None:
    """Compare batches with the rows of the source that they came from, bit for bit."""
    x, obs, index = stacked(batches)
    source = converted.source
    origin = converted.origin[index]
    wanted = source.X[origin]
    assert all(batch["X"].dtype == source.X.dtype for batch in batches)
    if sp.issparse(x):
        np.testing.assert_array_equal(x.indptr, wanted.indptr)
        np.testing.assert_array_equal(x.indices, wanted.indices)
        x, wanted = x.data, wanted.data
    assert x.tobytes() == wanted.tobytes()
    # Names that may be missing and never are become plain ones in a collection.
    pd.testing.assert_frame_equal(
        obs.drop(columns="src_path"), source.obs.iloc[origin], check_index_type=False, check_names=False
    )
    pd.testing.assert_frame_equal(obs, converted.collection.obs().iloc[index])


@pytest.mark.parametrize(
    ("chunk_size", "batch_size", "prefetch"),
    [(1, 100, 0), (1, 64, "1GB"), (7, 70, "1GB"), (7, 28, "1KB"), (32, 100, 0), (32, 33, "1GB"), (512, 512, "1GB")],
)
def test_every_row_equals_its_source_row_and_comes_once(converted, chunk_size, batch_size, prefetch):
    preload = int(np.lcm(chunk_size, batch_size)) // chunk_size * max(1, 512 // batch_size)
    with Loader(
        chunk_size=chunk_size,
        preload_nchunks=preload,
        batch_size=batch_size,
        shuffle=True,
        return_index=True,
        prefetch=prefetch,
        seed=1,
    ).use_collection(converted.collection) as loader:
        n_obs = converted.source.n_obs
        batches = list(loader)
        sizes = [len(batch["index"]) for batch in batches]
        assert sizes == [batch_size] * (n_obs // batch_size) + [n_obs % batch_size] * (n_obs % batch_size > 0)
        assert len(batches) == len(loader)
        rows = np.concatenate([batch["index"] for batch in batches])
        assert sorted(rows) == list(range(n_obs))
        assert rows.tolist() != sorted(rows)
        check(converted, batches)


def epoch(converted: Converted, **arguments) -> list[int]:
    with Loader(batch_size=64, chunk_size=16, preload_nchunks=8, return_index=True, **arguments) as loader:
        loader.use_collection(converted.collection)
        return [row for batch in loader for row in batch["index"]]


def test_one_seed_repeats_and_two_differ(converted):
    first = epoch(converted, shuffle=True, seed=1)
    assert epoch(converted, shuffle=True, seed=1) == first
    assert epoch(converted, shuffle=True, seed=2) != first
    assert epoch(converted) == list(range(converted.source.n_obs))


def test_var_stays_as_it_is(converted):
    with Loader(batch_size=64).use_collection(converted.collection) as loader:
        assert (loader.n_obs, loader.n_var) == converted.source.shape
        assert loader.var.index.tolist() == converted.source.var_names.tolist()


def test_a_batch_kept_while_a_hundred_others_are_read_is_unchanged(converted):
    with Loader(batch_size=16, chunk_size=4, preload_nchunks=16, shuffle=True, return_index=True) as loader:
        batches = iter(loader.use_collection(converted.collection))
        kept = next(batches)
        copy = (kept["X"].copy(), kept["obs"].copy(deep=True), kept["index"].copy())
        read = 0
        while read < 100:
            read += sum(1 for _ in batches)
            batches = iter(loader)
        x = kept["X"]
        for name in ("data", "indices", "indptr") if sp.issparse(x) else ():
            assert getattr(x, name).tobytes() == getattr(copy[0], name).tobytes()
        assert sp.issparse(x) or x.tobytes() == copy[0].tobytes()
        pd.testing.assert_frame_equal(kept["obs"], copy[1])
        np.testing.assert_array_equal(kept["index"], copy[2])
        check(converted, [kept])


# Chunks of 10 rows of a compressed file have a price, of which a loader warns: tested in test_hdf5.py.
@pytest.mark.filterwarnings("ignore:Reading decodes:UserWarning")
def test_backed_h5ad_is_read_in_place(shared_data):
    for name in FILES:
        source = ad.read_h5ad(shared_data / name)
        backed = ad.read_h5ad(shared_data / name, backed="r")
        with Loader(batch_size=50, chunk_size=10, preload_nchunks=10, shuffle=True, return_index=True) as loader:
            loader.add_adata(backed)
            for n, batch in enumerate(loader):
                wanted = source.X[batch["index"]]
                found = batch["X"]
                assert (found != wanted).nnz == 0 if sp.issparse(found) else np.array_equal(found, wanted)
                assert found.dtype == wanted.dtype
                if n == 20:
                    break
        backed.file.close()
