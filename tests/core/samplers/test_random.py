"""Rows drawn at random have the distribution that was asked for: fixed seeds, exact bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from annbatch.samplers import RandomSampler, RowSet
from annbatch.samplers._random import WeightedRows

from .conftest import assert_drawn_by, batches, counts

N_OBS = 60
WEIGHTS = np.random.default_rng(0).exponential(size=N_OBS) * (np.arange(N_OBS) % 7 > 0)


def test_rows_come_by_their_weights():
    found = counts(RandomSampler(1, 10_000, 100, weights=WEIGHTS, num_samples=200_000, rng=0), N_OBS)
    assert found.sum() == 200_000
    assert_drawn_by(found, WEIGHTS / WEIGHTS.sum())


@pytest.mark.parametrize("chunk_size", [7, 64])
def test_rows_of_chunks_come_by_their_weights(chunk_size):
    """Draws of one chunk hang together, so that the first of each is looked at, which do not."""
    rows = WeightedRows(RowSet(slice(0, N_OBS)), WEIGHTS, chunk_size)
    drawn = rows.draw(np.full(50_000, 2), np.random.default_rng(1)).reshape(-1, 2)
    for place in drawn.T:
        assert_drawn_by(np.bincount(place, minlength=N_OBS), WEIGHTS / WEIGHTS.sum())
    assert (drawn[:, 0] // chunk_size == drawn[:, 1] // chunk_size).all()


def test_weights_hold_within_a_mask():
    mask = np.flatnonzero(np.arange(N_OBS) % 4)
    found = counts(RandomSampler(1, 10_000, 100, weights=WEIGHTS, mask=mask, num_samples=100_000, rng=0), N_OBS)
    inside = np.isin(np.arange(N_OBS), mask) * WEIGHTS
    assert_drawn_by(found, inside / inside.sum())


@pytest.mark.parametrize("chunk_size", [1, 32])
def test_one_row_of_a_million_has_half_the_weight(chunk_size):
    weights = np.ones(1_000_000)
    odd = 765_432
    weights[odd] = 0.5
    # Rows around it only, since a draw of it among a million tells little: what a chunk is drawn by adds up exactly,
    rows = WeightedRows(RowSet(slice(0, len(weights))), weights, chunk_size)
    shares = np.diff(rows._ends, prepend=0) / rows._ends[-1]
    assert abs(shares[odd // chunk_size] * weights.sum() - (chunk_size - 0.5)) < 1e-6
    # and so do draws of the rows.
    near = RowSet(np.arange(odd - 20, odd + 20))
    sampler = RandomSampler(1, 20_000, 100, weights=weights, mask=near, num_samples=400_000, rng=0)
    found = counts(sampler, len(weights))[odd - 20 : odd + 20]
    assert_drawn_by(found, np.r_[np.ones(20), 0.5, np.ones(19)] / 39.5)
    assert found[20] < stats.binom.ppf(1e-9, 400_000, 1 / 40)


def test_rows_without_weight_are_not_read():
    for chunk_size in (1, 5, 60):
        sampler = RandomSampler(chunk_size, 60, 60, weights=WEIGHTS, num_samples=6_000, rng=0)
        for request in sampler.sample(N_OBS):
            assert (WEIGHTS[request["requests"]] > 0).all()


def test_the_end_of_what_is_drawn_has_weight():
    class Highest(np.random.Generator):
        """Draws the largest number that there is below 1."""

        def random(self, size):
            return np.full(size, np.nextafter(1, 0))

    weights = np.r_[np.full(8, 0.1), 0, 0]
    for chunk_size in (1, 4, 10):
        rows = WeightedRows(RowSet(slice(0, 10)), weights, chunk_size)
        drawn = rows.draw(np.full(5, chunk_size), Highest(np.random.PCG64()))
        assert (drawn == 7).all()


def test_weights_make_as_many_batches_as_asked():
    sampler = RandomSampler(4, 8, 16, weights=WEIGHTS, num_samples=100, rng=0)
    assert [len(batch) for batch in batches(sampler, N_OBS)] == [16] * 6 + [4]
    assert sampler.n_batches(N_OBS) == 7
    assert RandomSampler(4, 8, 16, weights=WEIGHTS, drop_last=True).n_batches(N_OBS) == 3


def test_replacement_draws_all_rows_alike():
    sampler = RandomSampler(1, 10_000, 100, replacement=True, num_samples=100_000, rng=0)
    assert_drawn_by(counts(sampler, N_OBS), np.full(N_OBS, 1 / N_OBS))
    chunks = next(RandomSampler(9, 4_000, 9, replacement=True, num_samples=36_000, rng=0).sample(N_OBS))["requests"]
    first, *others = np.r_[tuple(chunks)].reshape(-1, 9).T
    assert_drawn_by(np.bincount(first, minlength=N_OBS), np.full(N_OBS, 1 / N_OBS))
    assert all(np.array_equal(rows, (first + i) % N_OBS) for i, rows in enumerate(others, 1))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.array([1.0, -1]), "`weights` must be finite and not negative, got -1.0"),
        (np.array([1.0, np.nan]), "`weights` must be finite and not negative, got nan"),
        (np.array([1.0, np.inf]), "`weights` must be finite and not negative, got inf"),
        (np.zeros(3), "`weights` must have at least one positive weight, got 3 of 0"),
        (np.ones((2, 2)), "`weights` must have one dimension, got 2"),
    ],
)
def test_wrong_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        RandomSampler(1, 1, 1, weights=weights)


def test_weights_must_fit_the_rows():
    with pytest.raises(ValueError, match=r"`weights` must have one entry per row of the loader \(60\), got 3"):
        RandomSampler(1, 1, 1, weights=np.ones(3)).validate(60)
    nothing = RandomSampler(1, 1, 1, weights=WEIGHTS, mask=[0, 7, 14])
    with pytest.raises(ValueError, match="`weights` must be positive for a row of the mask, got 3 rows of weight 0"):
        next(nothing.sample(N_OBS))
