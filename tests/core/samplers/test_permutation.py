"""An order that is computed is a permutation, looks random, and costs nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from annbatch._plan.position import Position
from annbatch.samplers import RandomSampler
from annbatch.samplers._permutation import DRAWN_UP_TO, Drawn, Keyed, Natural, entries_of_orders, random_order

from .conftest import assert_drawn_by


def keyed(n: int, seed: int) -> np.ndarray:
    return Keyed(n, np.random.default_rng(seed)).at(np.arange(n))


@given(st.integers(2, 3_000), st.integers(0, 2**32))
def test_every_entry_comes_once(n, seed):
    assert np.array_equal(np.sort(keyed(n, seed)), np.arange(n))


@given(st.integers(2, 2**62), st.integers(0, 2**32), st.data())
def test_entries_of_any_size_lie_below_it_and_differ(n, seed, data):
    first = data.draw(st.integers(0, max(0, n - 1_000)))
    entries = Keyed(n, np.random.default_rng(seed)).at(np.arange(first, min(n, first + 1_000)))
    assert ((entries >= 0) & (entries < n)).all()
    assert len(np.unique(entries)) == len(entries)


def test_positions_are_computed_apart():
    order = Keyed(10_007, np.random.default_rng(0))
    positions = np.array([77, 3, 9_999, 3])
    assert np.array_equal(order.at(positions), keyed(10_007, 0)[positions])
    assert len(order) == 10_007


@pytest.mark.parametrize("n", [101, 1_000, 4_099])
def test_every_place_is_as_likely_for_every_entry(n):
    """Chi-square over where entries land, in 10 by 10 parts of positions and entries, of many keys."""
    found = np.zeros((10, 10))
    for seed in range(200):
        np.add.at(found, (np.arange(n) * 10 // n, keyed(n, seed) * 10 // n), 1)
    parts = np.bincount(np.arange(n) * 10 // n)
    expected = np.outer(parts, parts) * 200 / n
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert 1e-4 < stats.chi2.sf(chi_square, 81) < 1 - 1e-4


def test_neighbours_part():
    entries = keyed(1_000_003, 1)
    steps = np.diff(entries)
    assert (np.abs(steps) == 1).sum() < 20  # 2 are expected
    assert abs(np.corrcoef(entries[:-1], entries[1:])[0, 1]) < 0.01
    # Of an order of independent entries a third of the inner ones are greater than both neighbours.
    peaks = (entries[1:-1] > entries[:-2]) & (entries[1:-1] > entries[2:])
    assert abs(peaks.mean() - 1 / 3) < 0.005


def test_keys_make_different_orders():
    assert (keyed(10_000, 0) == keyed(10_000, 1)).mean() < 0.01


def test_short_orders_are_drawn_and_long_ones_computed():
    rng = np.random.default_rng(0)
    assert isinstance(random_order(DRAWN_UP_TO, rng), Drawn)
    assert isinstance(random_order(DRAWN_UP_TO + 1, rng), Keyed)
    drawn = random_order(1_000, rng)
    assert len(drawn) == 1_000
    assert np.array_equal(np.sort(drawn.at(np.arange(1_000))), np.arange(1_000))
    assert np.array_equal(Natural(9).at(np.arange(9)), np.arange(9))


@pytest.mark.parametrize("chunk_size", [1, 32])
def test_a_billion_rows_take_no_memory(chunk_size):
    n_obs = 10**9
    tracemalloc.start()
    try:
        sampler = RandomSampler(chunk_size, 16_384 // chunk_size, 4_096, rng=0)
        sampler.set_epoch(7)
        half = sampler.n_batches(n_obs) // 2
        request = next(sampler.sample(n_obs, position=Position(7, steps=half)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, request["splits"])) in range(1, 16_385)
    assert peak < 50e6


def test_a_long_epoch_has_every_row_once():
    n_obs = DRAWN_UP_TO + 12_345
    found = np.concatenate([request["requests"] for request in RandomSampler(1, 2**16, 2**12, rng=0).sample(n_obs)])
    assert np.array_equal(np.sort(found), np.arange(n_obs))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(0, 2**64 - 1))
def test_many_orders_at_once_are_each_a_permutation(lengths, key):
    sizes = np.repeat(lengths, lengths)
    positions = np.concatenate([np.arange(length) for length in lengths])
    keys = np.repeat(np.arange(len(lengths), dtype=np.uint64) ^ np.uint64(key), lengths)
    entries = entries_of_orders(positions, sizes, keys)
    ends = np.cumsum(lengths)
    for end, length in zip(ends, lengths, strict=True):
        assert np.array_equal(np.sort(entries[end - length : end]), np.arange(length))
    some = np.arange(len(entries))[::-3]
    assert np.array_equal(entries_of_orders(positions[some], sizes[some], keys[some]), entries[some])


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_many_orders_put_every_entry_everywhere_alike(n):
    n_orders = 20_000
    keys = np.repeat(np.random.default_rng(0).integers(0, 2**64, n_orders, dtype=np.uint64), n)
    entries = entries_of_orders(np.tile(np.arange(n), n_orders), np.full(n * n_orders, n), keys).reshape(-1, n)
    for position in range(n):
        assert_drawn_by(np.bincount(entries[:, position], minlength=n), np.full(n, 1 / n))


def test_entries_of_long_orders_lie_below_their_lengths():
    lengths = np.array([2**31, 2**40 - 1, 2**50])
    entries = entries_of_orders(lengths - 1, lengths, np.arange(3, dtype=np.uint64))
    assert ((entries >= 0) & (entries < lengths)).all()
