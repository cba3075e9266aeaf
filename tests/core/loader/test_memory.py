"""The memory of batches, which are the user's, and what the loader counts of it."""

from __future__ import annotations

import pickle

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr

from annbatch import Loader, write_sharded

from .conftest import MATRIX, check_batch, check_epoch, order, random_matrix, small


@pytest.mark.parametrize("sparse", [True, False])
def test_a_batch_kept_while_others_are_read_is_unchanged(sparse):
    matrix = random_matrix(0, 203, 9, "f4", sparse=sparse)
    loader = Loader(batch_size=10, chunk_size=5, preload_nchunks=4, shuffle=True, return_index=True)
    loader.add_dataset(matrix, pd.DataFrame({"n": np.arange(203), "c": pd.Categorical(np.arange(203) % 7)}))
    kept, copies = [], []
    for epoch in range(12):
        batches = iter(loader)
        for _ in range(epoch % 3):
            next(batches)
        kept.append(next(batches))
        copies.append(pickle.loads(pickle.dumps(kept[-1])))
        for _ in batches:
            pass
    loader.close()
    for was, copy in zip(kept, copies, strict=True):
        check_batch(was, matrix)
        np.testing.assert_array_equal(was["index"], copy["index"])
        pd.testing.assert_frame_equal(was["obs"], copy["obs"])
        assert (was["obs"]["n"] == was["index"]).all()


VIEWS = {
    "a view of a view": lambda x: x.data[2:][1:],
    "a memoryview": lambda x: memoryview(x.data)[3:],
    "np.frombuffer": lambda x: np.frombuffer(x.indices, dtype=np.int32),
    "a matrix": lambda x: x,
    "another matrix over the same memory": lambda x: x.T,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_memory_is_not_used_again_while_a_view_lives(view):
    loader = Loader(batch_size=50, chunk_size=10, preload_nchunks=10, shuffle=True, prefetch=0).add_dataset(MATRIX)
    held = [view(batch["X"]) for batch in loader]
    copies = pickle.loads(pickle.dumps([np.array(h) if isinstance(h, memoryview) else h for h in held]))
    for _ in range(10):
        for batch in loader:
            batch["X"].data[...] = -1
            batch["X"].indices[...] = 0
    for was, copy in zip(held, copies, strict=True):
        assert (was != copy).nnz == 0 if sp.issparse(was) else np.array_equal(np.array(was), copy)


def test_a_batch_may_be_written_to():
    obs = pd.DataFrame({"n": np.arange(203.0)})
    loader = Loader(batch_size=10, return_index=True, chunk_size=10).add_dataset(MATRIX, obs)
    for batch in loader:
        batch["X"].data[...] = 0
        batch["obs"]["n"] = 0.0
        batch["obs"]["more"] = 1
        batch["index"][...] = 0
    assert obs["n"].tolist() == list(range(203))
    check_epoch(loader, MATRIX)


def test_memory_is_flat_over_epochs():
    loader = small(seed=0, prefetch=0)
    for _ in range(3):
        order(loader)
    early = loader.stats.peak_buffer_bytes
    for _ in range(50):
        order(loader)
    assert loader.stats.peak_buffer_bytes == early > 0


def test_memory_is_bounded_while_reading_ahead():
    loader = small(seed=0, prefetch=1)
    for _ in range(50):
        order(loader)
    # At once: the window that the user is at, the one before in their hands still, one ahead and one being started, of
    # three blocks each, none of which is smaller than 4 KB. The 50 epochs fill 1,650 blocks.
    assert 0 < loader.stats.peak_buffer_bytes <= 4 * 3 * 2 * 4096


def test_stats_add_up(tmp_path):
    write_sharded(zarr.open_group(tmp_path, mode="w"), ad.AnnData(MATRIX))
    with Loader(batch_size=10, chunk_size=5, preload_nchunks=4).add_dataset(zarr.open_group(tmp_path)["X"]) as loader:
        assert (loader.stats.rows, loader.stats.batches, loader.stats.bytes_read) == (0, 0, 0)
        for n, batch in enumerate(loader, start=1):
            assert (loader.stats.rows, loader.stats.batches) == (min(203, 10 * n), n)
            assert batch["X"].nnz >= 0
        before = loader.stats
        assert before.bytes_read > 0
        assert before.read_seconds > 0
        assert before.wait_seconds > 0
        assert before.peak_buffer_bytes >= 20 * 8
        for _ in loader:
            pass
        assert (loader.stats.rows, loader.stats.batches) == (406, 42)
        assert loader.stats.bytes_read > before.bytes_read
