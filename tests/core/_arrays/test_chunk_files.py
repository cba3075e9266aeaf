"""Chunk files of an array that is replaced or removed while it is read."""

from __future__ import annotations

import pickle
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError, StoreError

N = 200


def collect(folder, seed: int) -> DatasetCollection:
    obs = pd.DataFrame({"cell": np.arange(N)}, index=[f"c{i}" for i in range(N)])
    adata = ad.AnnData(sp.csr_matrix(np.random.default_rng(seed).poisson(1, (N, 5)).astype("f4")), obs)
    adata.write_h5ad(folder / "a.h5ad")
    collection = DatasetCollection(folder / "c.zarr")
    return collection.add_adatas(
        [folder / "a.h5ad"], dataset_size=100, n_obs_per_chunk=10, rng=np.random.default_rng(seed), progress=False
    )


def reader(collection: DatasetCollection) -> Loader:
    return Loader(batch_size=10, chunk_size=10, preload_nchunks=1, prefetch=0, keys=("X",)).use_collection(collection)


@pytest.mark.parametrize("event", ["shuffled again", "made anew", "removed"])
def test_a_collection_that_changes_under_a_reader_is_an_error(tmp_path, event):
    collection = collect(tmp_path, 0)
    expected = [batch["X"].toarray() for batch in reader(collection)]
    batches = iter(reader(collection))
    np.testing.assert_array_equal(next(batches)["X"].toarray(), expected[0])
    if event == "shuffled again":
        collection.reshuffle(progress=False)
    else:
        shutil.rmtree(tmp_path / "c.zarr")
    if event == "made anew":
        collect(tmp_path, 1)
    got = []
    with pytest.raises(CorruptDataError, match=r"was (replaced|removed).* open"):
        got += [batch["X"].toarray() for batch in batches]
    np.testing.assert_array_equal(got, expected[1 : 1 + len(got)] or np.empty(0))


@pytest.mark.parametrize("event", ["nothing", "made anew", "removed"])
def test_a_pickled_loader_refuses_a_collection_that_changed_since(tmp_path, event):
    loader = reader(collect(tmp_path, 0))
    expected = [batch["X"].toarray() for batch in loader]
    pickled = pickle.dumps(pickle.loads(pickle.dumps(loader)))
    if event == "nothing":
        again = pickle.loads(pickled)
        again.set_epoch(0)
        np.testing.assert_array_equal([batch["X"].toarray() for batch in again], expected)
        return
    shutil.rmtree(tmp_path / "c.zarr")
    if event == "made anew":
        collect(tmp_path, 1)
    with pytest.raises(CorruptDataError, match=r"c\.zarr/dataset_0/X/\w+ was replaced, changed or removed since the"):
        pickle.loads(pickled)


def test_a_collection_that_changes_while_it_is_opened_is_an_error(tmp_path):
    class Changing(DatasetCollection):
        def __iter__(self):
            yield from super().__iter__()
            DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "b.h5ad"], progress=False, if_present="add")

    collect(tmp_path, 0)
    (tmp_path / "a.h5ad").rename(tmp_path / "b.h5ad")
    loader = Loader(batch_size=10, chunk_size=10, preload_nchunks=1, keys=("X",))
    with pytest.raises(StoreError, match="The collection changed while it was opened"):
        loader.use_collection(Changing(tmp_path / "c.zarr"))
    assert loader.n_obs == 0


def test_a_relative_path_is_that_of_the_folder_in_which_the_array_was_opened(tmp_path, monkeypatch):
    for number, name in enumerate(("mine", "other")):
        stored = zarr.create_array(tmp_path / name / "a.zarr", shape=(9, 2), dtype="f4", chunks=(3, 2))
        stored[...] = number + 1
    monkeypatch.chdir(tmp_path / "mine")
    loader = Loader(batch_size=9, chunk_size=9, preload_nchunks=1).add_dataset(zarr.open_array("a.zarr", mode="r"))
    monkeypatch.chdir(tmp_path / "other")
    assert (next(iter(loader))["X"] == 1).all()
