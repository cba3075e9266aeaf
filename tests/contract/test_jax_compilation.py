"""A jitted step over ragged batches: how often it compiles, and that late computations read the right memory."""

from __future__ import annotations

import numpy as np
import pytest

from annbatch_jax import JaxAdapter

jax = pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)


@pytest.mark.parametrize("nse_buckets", ["pow2", (1_000, 2_000, 4_000, 8_000)])
def test_an_epoch_compiles_at_most_once_a_bucket(make_loader, counts, nse_buckets):
    adapter, traces = JaxAdapter(nse_buckets=nse_buckets), []

    @jax.jit
    def step(weights, x):
        traces.append(x.nse)
        return weights + (x @ weights).sum()

    nnzs = set()
    loader = make_loader(adapter, drop_last=True, chunk_size=8, preload_nchunks=8)
    for batch in loader:
        nnzs.add(int(batch["X"].indptr[-1]))
        step(np.ones(counts.shape[1], np.float32), batch["X"])
    assert sorted(traces) == sorted({adapter.capacity(nnz) for nnz in nnzs})
    assert len(traces) < len(nnzs)


def test_without_buckets_nearly_every_batch_compiles(make_loader, counts):
    traces = []

    @jax.jit
    def step(x):
        traces.append(x.nse)
        return x.data.sum()

    loader = make_loader(JaxAdapter(nse_buckets=None), chunk_size=64, preload_nchunks=8, batch_size=256)
    shapes = {(tuple(batch["X"].shape), batch["X"].nse, float(step(batch["X"])))[:2] for batch in loader}
    assert len(traces) == len(shapes) > len(loader) / 2


def test_late_computations_read_the_batch_they_were_given(make_loader, counts):
    """JAX computes after the call has returned: the batch is gone by then, and its memory must not be lent again."""
    totals = np.asarray(counts.sum(axis=1)).ravel()
    ones = np.ones(counts.shape[1], np.float32)

    @jax.jit
    def late(x, slow):
        for _ in range(5):
            slow = slow @ slow / len(slow)
        return x @ (ones * slow[0, 0])

    settings = {"drop_last": True, "chunk_size": 8, "preload_nchunks": 8, "prefetch": 0}  # few blocks, often lent again
    loader = make_loader(JaxAdapter(), return_index=True, **settings)
    slow, promised = np.ones((400, 400), np.float32), []
    for batch in loader:
        promised.append((batch["index"], late(batch["X"], slow)))
        del batch
    for index, sums in promised:
        np.testing.assert_array_equal(sums, totals[index])


@pytest.mark.parametrize("densify", [False, True])
def test_batches_are_pytrees(make_loader, counts, densify):
    """A jitted step takes a batch directly."""
    totals = counts.sum(axis=1)

    @jax.jit
    def step(batch):
        x = batch["X"] @ np.ones((counts.shape[1], 1), np.float32)
        return x, batch["obs"]["depth"].sum(), batch["obs"]["label"].max()

    options = {"obs_as": "arrays", "obs_columns": ["label", "depth"], "densify": densify}
    loader = make_loader("jax", return_index=True, **options)
    assert loader.var is not None
    for batch in loader:
        assert batch["var"] is None
        index = batch["index"]
        sums, depth, label = step(batch)
        np.testing.assert_array_equal(sums, totals[index])
        assert depth > 0
        assert label == 2
        leaves, structure = jax.tree.flatten(batch)
        again = jax.tree.unflatten(structure, leaves)
        np.testing.assert_array_equal(again["obs"]["depth"], batch["obs"]["depth"])
