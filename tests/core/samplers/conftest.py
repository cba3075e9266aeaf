"""What tests of samplers look at: the rows of every batch."""

from __future__ import annotations

import numpy as np
from scipy import stats

from annbatch._plan.window_rows import plan_window


def batches(sampler, n_obs: int, epoch: int = 0, **where) -> list[list[int]]:
    """Return the global rows of every batch of an epoch."""
    sampler.set_epoch(epoch)
    windows = [plan_window(request, n_obs) for request in sampler.sample(n_obs, **where)]
    return [w.rows[a:b].tolist() for w in windows for a, b in zip(w.edges[:-1], w.edges[1:], strict=True)]


def flat(nested: list[list[int]]) -> list[int]:
    return [row for batch in nested for row in batch]


def assert_drawn_by(counts: np.ndarray, shares: np.ndarray) -> None:
    """Check counts of independent draws against the exact bounds of the binomial distribution of each."""
    total = int(counts.sum())
    low, high = stats.binom.interval(1 - 1e-6 / len(counts), total, shares)
    assert ((counts >= low) & (counts <= high)).all(), (counts, low, high)


def counts(sampler, n_obs: int) -> np.ndarray:
    """Return how often each row comes in an epoch."""
    rows = [request["requests"][np.concatenate(request["splits"])] for request in sampler.sample(n_obs)]
    return np.bincount(np.concatenate(rows), minlength=n_obs)
