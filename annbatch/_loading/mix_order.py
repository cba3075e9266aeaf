"""Which loader of a mix yields each batch: integers only, computed for any step without the steps before."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from .._plan.position import parts
from ..samplers._permutation import random_order
from ..samplers._seeding import MIXES, keyed_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Draw = Callable[[int], np.ndarray]
    """Function of the number of a block of steps; returns the loader of each."""

BLOCK = 1 << 10
"""Steps that are drawn together. In an endless mix each block has the shares of the weights, exact to one batch."""

LONGEST = 1 << 62
"""No order of so many batches can be computed."""


def batches_per_loader(
    left: Sequence[int], weights: Sequence[float], *, stop: str, owed: Sequence[int], epoch: int
) -> tuple[list[int], int]:
    """Return how many batches of each loader come until the mix stops, and which loader yields the last.

    The numbers have the ratios of the weights, rounded. One loader sets them: with ``stop="first"`` the one that is
    through first, and no other gets through; with ``stop="all"`` the one that is through last.

    Parameters
    ----------
    left
        Batches of each loader until its epoch ends.
    weights
        Finite and not negative.
    stop
        ``"first"`` or ``"all"``.
    owed
        The same as ``left``, but 0 for loaders that have been through once.
    epoch
        Number of the epoch of the mix: where loaders get through at the same time, they take turns in being the last.

    Raises
    ------
    ValueError
        If there would be ``2**62`` batches or more.
    """
    shares = [Fraction(weight) for weight in weights]
    first = stop == "first"
    times = {i: (left[i] if first else owed[i]) / share for i, share in enumerate(shares) if share}
    time = (min if first else max)(times.values(), default=Fraction(0))
    limits = [i for i, own in times.items() if own == time]
    counts, last = [0] * len(shares), limits[epoch % len(limits)] if limits else 0
    if not time:
        return counts, last
    for i in times:
        count = max(1, round(time * shares[i]))  # 1: rounded to 0, a loader would never come
        counts[i] = min(count, left[i] - 1) if first else max(count, owed[i])
    counts[last] = left[last] if first else owed[last]
    if sum(counts) >= LONGEST:
        raise ValueError(
            f"`weights` must let every loader come through within 2**62 batches, got {list(weights)} for loaders of "
            f"{list(left)} batches."
        )
    return counts, last


def batches_of_worker(
    counts: Sequence[int], left: Sequence[int], lengths: Sequence[int], worker: tuple[int, int]
) -> list[int]:
    """Return how many batches of each loader a worker yields: in each pass over a loader, its part of them.

    Parameters
    ----------
    counts
        Batches of each loader that all workers yield.
    left, lengths
        Batches of each loader in the first of these passes, and in each later one.
    worker
        Number of this worker, and number of workers.
    """

    def part(n: int) -> int:
        start, stop = parts(n, worker[1], equal=False)[worker[0]]
        return stop - start

    shares = []
    for count, here, length in zip(counts, left, lengths, strict=True):
        now = min(count, here)
        passes, rest = divmod(count - now, max(1, length))
        shares.append(part(now) + passes * part(length) + part(rest))
    return shares


def shuffled(counts: Sequence[int], last: int, *, seed: int, key: tuple[int, ...]) -> Draw:
    """Return loaders in random order, each ``counts`` times; the last batch is one of loader ``last``."""
    n_before = sum(counts) - 1
    edges = np.cumsum(counts)
    edges[last:] -= 1
    order = random_order(max(0, n_before), keyed_rng(seed, MIXES, *key))

    def draw(block: int) -> np.ndarray:
        steps = np.arange(block * BLOCK, min((block + 1) * BLOCK, n_before + 1))
        before = order.at(steps[steps < n_before])
        return np.append(np.searchsorted(edges, before, side="right"), np.full(len(steps) - len(before), last))

    return draw


def endless(weights: Sequence[float], *, seed: int, key: tuple[int, ...]) -> Draw:
    """Return loaders in random order, without an end: in each block by weight, rounded at random."""
    edges = np.cumsum(np.asarray(weights) / max(weights))  # of shares, so that no sum overflows
    edges = edges / edges[-1] * BLOCK  # in this order, so that the last is exactly BLOCK

    def draw(block: int) -> np.ndarray:
        rng = keyed_rng(seed, MIXES, *key, block)
        counts = np.diff(np.floor(edges + rng.random(dtype=np.float32)).astype(np.int64), prepend=0)
        loaders: np.ndarray = rng.permutation(np.repeat(np.arange(len(counts)), counts))
        return loaders

    return draw


def loaders_from(draw: Draw, step: int) -> Iterator[int]:
    """Yield the loader of each step, from ``step`` on."""
    block = step // BLOCK
    while len(loaders := draw(block)):
        yield from loaders[max(0, step - block * BLOCK) :].tolist()
        block += 1


def n_drawn(draw: Draw, step: int, n_loaders: int) -> list[int]:
    """Return how often each loader came before ``step``."""
    drawn = np.zeros(n_loaders, dtype=np.int64)
    for block in range(-(-step // BLOCK)):
        drawn += np.bincount(draw(block)[: step - block * BLOCK], minlength=n_loaders)
    return [int(count) for count in drawn]
