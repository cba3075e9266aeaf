"""The order of loaders: exact numbers of batches, in an order that can be computed from any step."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._loading.mix_order import (
    BLOCK,
    batches_of_worker,
    batches_per_loader,
    endless,
    loaders_from,
    n_drawn,
    shuffled,
)

KEY = {"seed": 3, "key": (5, 0, 0)}
weights_of = st.one_of(st.just(0), st.integers(1, 9), st.floats(0.01, 100))
loaders = st.lists(st.tuples(st.integers(1, 300), weights_of), min_size=1, max_size=4).filter(
    lambda drawn: any(weight for _, weight in drawn)
)


@given(drawn=loaders, epoch=st.integers(0, 5))
def test_the_first_loader_to_get_through_ends_the_mix(drawn, epoch):
    lengths, weights = zip(*drawn, strict=True)
    counts, last = batches_per_loader(lengths, weights, stop="first", owed=lengths, epoch=epoch)
    order = list(loaders_from(shuffled(counts, last, **KEY), 0))

    assert [order.count(i) for i in range(len(counts))] == counts
    assert order[-1] == last
    assert [i for i, (count, n) in enumerate(zip(counts, lengths, strict=True)) if count >= n] == [last]
    time = lengths[last] / weights[last]
    for count, n, weight in zip(counts, lengths, weights, strict=True):
        assert count in (n, n - 1) or abs(count - time * weight) <= 0.5 + 1e-9 or count == 1
        assert count <= n
        assert (count > 0) <= (weight > 0)
    assert sum(counts) == sum(batches_per_loader(lengths, weights, stop="first", owed=lengths, epoch=epoch + 1)[0])


@given(drawn=loaders, epoch=st.integers(0, 5))
def test_all_loaders_get_through_and_the_last_ends_the_mix(drawn, epoch):
    lengths, weights = zip(*drawn, strict=True)
    counts, last = batches_per_loader(lengths, weights, stop="all", owed=lengths, epoch=epoch)
    time = lengths[last] / weights[last]

    assert counts[last] == lengths[last]
    for count, n, weight in zip(counts, lengths, weights, strict=True):
        assert count >= n if weight else count == 0
        assert count == n or abs(count - time * weight) <= 0.5 + 1e-6 * count


def test_numbers_of_batches_are_exact_where_the_weights_are():
    assert batches_per_loader([300, 900], [3, 1], stop="first", owed=[300, 900], epoch=0) == ([300, 100], 0)
    assert batches_per_loader([300, 100], [3, 1], stop="all", owed=[300, 100], epoch=0) == ([300, 100], 0)
    assert batches_per_loader([1, 10**6], [1, 1e-9], stop="first", owed=[1, 10**6], epoch=0) == ([1, 1], 0)


def test_loaders_that_get_through_together_take_turns_in_being_last():
    found = [batches_per_loader([6, 2], [3, 1], stop="first", owed=[6, 2], epoch=epoch) for epoch in range(3)]
    assert found == [([6, 1], 0), ([5, 2], 1), ([6, 1], 0)]


def test_weights_that_make_an_epoch_too_long_are_refused():
    with pytest.raises(ValueError, match=r"`weights` must let every loader come through within 2\*\*62 batches, got"):
        batches_per_loader([10, 10], [1, 1e-300], stop="all", owed=[10, 10], epoch=0)


@given(
    counts=st.lists(st.integers(0, 2_000), min_size=1, max_size=4).filter(any),
    step=st.integers(0, 8_000),
    data=st.data(),
)
def test_the_order_begins_at_any_step(counts, step, data):
    last = data.draw(st.sampled_from([i for i, count in enumerate(counts) if count]))
    draw = shuffled(counts, last, **KEY)
    order = list(loaders_from(draw, 0))

    assert list(loaders_from(draw, step)) == order[step:]
    assert n_drawn(draw, step, len(counts)) == [order[:step].count(i) for i in range(len(counts))]
    assert len(order) == sum(counts)


def test_an_order_too_long_for_memory_is_computed():
    draw = shuffled([3 << 40, 1 << 40], 0, **KEY)
    found = list(islice(loaders_from(draw, 1 << 41), 4_000))

    assert 2_800 < found.count(0) < 3_200
    assert list(loaders_from(draw, (4 << 40) - 1)) == [0]


@given(weights=st.lists(weights_of, min_size=1, max_size=5).filter(any), start=st.integers(0, 3 * BLOCK))
def test_an_endless_mix_has_the_shares_in_each_block(weights, start):
    draw = endless(weights, seed=1, key=(0, 0))
    order = np.array(list(islice(loaders_from(draw, 0), 4 * BLOCK)))

    for block in order.reshape(4, BLOCK):
        counts = np.bincount(block, minlength=len(weights))
        assert (np.abs(counts - BLOCK * np.array(weights) / sum(weights)) < 1 + 1e-6).all()
        assert (counts[np.array(weights) == 0] == 0).all()
    assert list(islice(loaders_from(draw, start), 99)) == order[start : start + 99].tolist()


def test_the_order_depends_on_seed_and_key():
    orders = {
        tuple(loaders_from(shuffled([40, 40], 0, seed=seed, key=key), 0))
        for seed in (0, 1)
        for key in [(0, 0, 0), (1, 0, 0), (0, 7, 0), (0, 0, 1)]
    }
    assert len(orders) == 8


@given(
    counts=st.lists(st.integers(0, 90), min_size=3, max_size=3),
    left=st.lists(st.integers(0, 30), min_size=3, max_size=3),
    lengths=st.lists(st.integers(1, 30), min_size=3, max_size=3),
    workers=st.integers(1, 5),
)
def test_workers_share_the_batches_of_each_pass(counts, left, lengths, workers):
    shares = [batches_of_worker(counts, left, lengths, (worker, workers)) for worker in range(workers)]

    assert [sum(own) for own in zip(*shares, strict=True)] == counts
    for count, here, own in zip(counts, left, zip(*shares, strict=True), strict=True):
        if count <= here:  # of one pass, so that no worker needs more than its part of it
            parts = [here // workers + (worker < here % workers) for worker in range(workers)]
            assert all(n <= part for n, part in zip(own, parts, strict=True))
