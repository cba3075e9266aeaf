"""A batch belongs to whoever holds it: reading on does not change it, in any framework."""

from __future__ import annotations

import itertools

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
