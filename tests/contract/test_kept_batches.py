"""A batch belongs to whoever holds it: reading on does not change it, in any framework."""

from __future__ import annotations

import itertools
import threading
from importlib import import_module

import numpy as np
import pytest

from annbatch import Loader


def test_a_batch_is_unchanged_after_a_hundred_others(make_loader, framework):
    batches = itertools.chain.from_iterable(itertools.repeat(make_loader(framework.to, prefetch=0)))
    kept = next(batches)
    before = framework.bits(kept["X"])
    n_others = sum(1 for _ in itertools.islice(batches, 150))
    assert n_others == 150
    assert framework.bits(kept["X"]) == before


def test_a_dense_batch_is_unchanged_after_a_hundred_others(embedding, framework):
    loader = Loader(chunk_size=8, preload_nchunks=8, batch_size=32, shuffle=True, prefetch=0, to=framework.to)
    batches = itertools.chain.from_iterable(itertools.repeat(loader.add_dataset(embedding)))
    kept = next(batches)
    before = framework.bits(kept["X"])
    assert sum(1 for _ in itertools.islice(batches, 150)) == 150
    assert framework.bits(kept["X"]) == before


@pytest.mark.parametrize("prefetch", [0, "1GB"])
@pytest.mark.parametrize("densify", [False, True])
def test_an_epoch_that_is_kept_is_intact_whatever_is_dropped(make_loader, counts, framework, densify, prefetch):
    """Every other batch is dropped, so that its window's memory comes back and is written again, four epochs long."""
    expected = counts.toarray()
    loader = make_loader(
        framework.to, densify=densify, return_index=True, chunk_size=4, preload_nchunks=8, batch_size=32,
        prefetch=prefetch, obs_as="arrays", obs_columns=["depth"],
    )  # fmt: skip
    kept = []
    for _ in range(4):
        kept += [batch for number, batch in enumerate(loader) if number % 2]
    windows = 4 * len(loader)
    assert loader.stats.batches == windows
    held = sum(batch["X"].nbytes for batch in kept) if densify and framework.to is None else 0
    assert held <= loader.stats.peak_buffer_bytes
    for batch in kept:
        np.testing.assert_array_equal(framework.dense(batch["X"]), expected[batch["index"]], strict=True)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_an_epoch_of_staged_batches_is_intact(make_loader, counts, name):
    pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
    adapter = getattr(import_module(f"annbatch_{name}"), f"{name.title()}Adapter")(stages=True)
    settings = {"densify": True, "return_index": True, "chunk_size": 10, "preload_nchunks": 10, "batch_size": 100}
    kept = [batch for number, batch in enumerate(make_loader(adapter, **settings)) if number % 2]
    assert len(kept) == 15
    expected = counts.toarray()
    for batch in kept:
        np.testing.assert_array_equal(np.asarray(batch["X"]), expected[batch["index"]], strict=True)


def test_batches_kept_on_several_threads_are_intact(make_loader, counts, framework):
    """Threads look at batches late, while the loop reads on and drops its own references to them."""
    expected, wrong = counts.toarray(), []

    def look(batches):
        for batch in batches:
            if not np.array_equal(framework.dense(batch["X"]), expected[batch["index"]]):
                wrong.append(batch["index"])

    threads = []
    for seed in range(3):
        loader = make_loader(framework.to, seed=seed, return_index=True, chunk_size=4, preload_nchunks=16)
        late = []
        for number, batch in enumerate(loader):
            late.append(batch)
            if number % 10 == 9:
                threads.append(threading.Thread(target=look, args=(late,)))
                threads[-1].start()
                late = []
    for thread in threads:
        thread.join()
    assert len(threads) == 3 * (len(loader) // 10)
    assert not wrong
