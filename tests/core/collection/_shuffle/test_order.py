"""The order is a permutation, uniform, and a function of the seed alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch.collection._shuffle.order import GivenOrder, InputOrder, ShuffledOrder, philox


def order_of(order: ShuffledOrder | InputOrder | GivenOrder, n: int) -> np.ndarray:
    return order.arrange(order.keys(0, n), np.arange(n))


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(0, 200), data=st.data())
def test_keys_of_a_range_are_a_range_of_keys(seed: int, n: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, n))
    stop = data.draw(st.integers(start, n))
    assert np.array_equal(philox(seed, 3, start, stop), philox(seed, 3, 0, n)[start:stop])


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(0, 300))
def test_it_is_a_permutation(seed: int, n: int) -> None:
    assert np.array_equal(np.sort(order_of(ShuffledOrder(seed), n)), np.arange(n))


@given(seed=st.integers(0, 2**63 - 1), bits=st.integers(0, 4), n=st.integers(0, 60), data=st.data())
def test_rows_with_one_key_draw_again(seed: int, bits: int, n: int, data: st.DataObject) -> None:
    order = ShuffledOrder(seed, span=2**bits)
    keys, rows = order.keys(0, n), np.arange(n)
    whole = order.arrange(keys, rows)
    assert np.array_equal(np.sort(whole), rows)
    # In whatever order they arrive.
    arrival = np.array(data.draw(st.permutations(range(n))), dtype=np.int64)
    assert np.array_equal(arrival[order.arrange(keys[arrival], rows[arrival])], whole)


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 300), n_buckets=st.integers(1, 9))
def test_buckets_cut_the_same_order(seed: int, n: int, n_buckets: int) -> None:
    order = ShuffledOrder(seed)
    keys = order.keys(0, n)
    bounds = np.array([2**64 * i // n_buckets for i in range(1, n_buckets)], np.uint64)
    bucket = np.searchsorted(bounds, keys, side="right")
    parts = []
    for number in range(n_buckets):
        mine = np.flatnonzero(bucket == number)
        parts.append(mine[order.arrange(keys[mine], mine)])
    assert np.array_equal(np.concatenate(parts), order_of(order, n))


def test_the_stream_never_changes() -> None:
    # Collections made years apart from one seed are the same.
    assert philox(1, 0, 0, 3).tolist() == [5599841837815857887, 15655913098571550255, 2880178291573394738]


def chi_square(orders: np.ndarray) -> float:
    """Chi-square of how often each row falls into each sixteenth of the positions, over many orders."""
    n_orders, n = orders.shape
    positions = np.argsort(orders, axis=1) * 16 // n
    counts = np.stack([np.bincount(positions[:, row], minlength=16) for row in range(n)])
    expected = n_orders / 16
    return float(((counts - expected) ** 2 / expected).sum())


def shuffle_blocks(seed: int, n: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.arange(a, a + size)) for a in range(0, n, size)])


def test_positions_are_uniform_and_a_block_shuffle_is_not() -> None:
    n, n_orders = 128, 640
    orders = np.stack([order_of(ShuffledOrder(seed), n) for seed in range(n_orders)])
    freedom = n * 15 * (n - 1) / n
    bound = freedom + 5 * np.sqrt(2 * freedom)  # five standard deviations
    assert chi_square(orders) < bound
    blocks = np.stack([shuffle_blocks(seed, n, 64) for seed in range(n_orders)])
    assert chi_square(blocks) > bound


def test_neighbours_are_separated_unlike_in_a_block_shuffle() -> None:
    n, n_orders, size = 512, 200, 8

    def touching(order: np.ndarray) -> int:
        return int((np.abs(np.diff(order)) == 1).sum())

    mean = np.mean([touching(order_of(ShuffledOrder(seed), n)) for seed in range(n_orders)])
    # Each of n - 1 pairs touches with probability 2/n: mean 2, variance about 2.
    assert abs(mean - 2) < 5 * np.sqrt(2 / n_orders)
    blocks = [np.concatenate(np.random.default_rng(s).permutation(np.arange(n).reshape(-1, size))) for s in range(10)]
    assert np.mean([touching(order) for order in blocks]) > 100


@pytest.mark.parametrize("n", [0, 1, 10])
def test_input_order_and_given_order(n: int) -> None:
    assert np.array_equal(order_of(InputOrder(n), n), np.arange(n))
    positions = np.arange(n)[::-1].copy()
    assert np.array_equal(order_of(GivenOrder(positions), n), np.arange(n)[::-1])
