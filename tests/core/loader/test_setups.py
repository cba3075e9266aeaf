"""Random set-ups: samplers, ranks, workers, resumed and broken-off epochs.

40 of them, by seed, and 10 with ``--hypothesis-profile=brief``; for more,
``ANNBATCH_SETUPS=750 pytest tests/core/loader/test_setups.py``.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from math import gcd
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from annbatch import Loader
from annbatch._plan.position import Position
from annbatch._plan.window_rows import plan_window
from annbatch.abc import Sampler
from annbatch.samplers import (
    ChunkSampler,
    ClassSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedClassSampler,
)

Batches = list[tuple[int, ...]]
SEEDS = range(int(os.environ.get("ANNBATCH_SETUPS", min(40, settings().max_examples))))


class Own(Sampler):
    """A user's sampler: draws from its generator as it goes, and leaves the splits to the loader."""

    batch_size = 0
    shuffle = True

    def __init__(self, window: int, batch_size: int, rng: int) -> None:
        self.window, self.batch_size, self.generator = window, batch_size, np.random.default_rng(rng)

    def n_batches(self, n_obs: int) -> int:
        return -(-n_obs // self.batch_size)

    def validate(self, n_obs: int) -> None:
        pass

    def has_short_batch(self, n_obs: int) -> bool:
        return n_obs % self.batch_size > 0

    def _sample(self, n_obs: int) -> Any:
        order = self.generator.permutation(n_obs)
        for start in range(0, n_obs, self.window):
            yield {"requests": order[start : start + self.window]}


@dataclass(frozen=True)
class Setup:
    """A sampler, what it promises, and who reads."""

    n_obs: int
    batch_size: int
    make: partial[Sampler]
    once: bool
    drop_last: bool
    rows: frozenset[int]
    n_samples: int
    classes: pd.Categorical | None
    ranks: int
    later_ranks: int
    remainder: str
    workers: int

    def sampler(self, rank: int, ranks: int) -> DistributedSampler:
        """Return the sampler of a rank."""
        equal = self.remainder != "uneven"
        how: Any = {"remainder": self.remainder} if equal else {"enforce_equal_batches": False}
        return DistributedSampler(self.make(), dist_info=lambda: (rank, ranks), **how)

    def of_ranks(self, ranks: int) -> Sampler:
        """Return the sampler of an epoch that ranks share: each takes the number of samples that was given."""
        given = dict(self.make.keywords)
        if "num_samples" in given:
            given["num_samples"] *= ranks
        return self.make.func(*self.make.args, **given)

    def loader(self, sampler: Sampler) -> Loader:
        """Return a loader of numbered rows."""
        loader = Loader(batch_sampler=sampler, return_index=True, prefetch=0)
        return loader.add_dataset(np.arange(self.n_obs, dtype="f4")[:, None])


def draw_setup(seed: int) -> Setup:
    """Draw a set-up."""
    rng = np.random.default_rng([20, seed])
    n_obs, batch_size, chunk = int(rng.integers(150, 400)), int(rng.integers(1, 7)), int(rng.integers(1, 9))
    window = chunk, int(rng.integers(1, 5)) * batch_size // gcd(chunk, batch_size), batch_size
    drop_last, masked = bool(rng.integers(2)), bool(rng.integers(2))
    mask = rng.random(n_obs) < 0.6 if masked else np.ones(n_obs, bool)
    classes, n_samples, order_seed = None, int(mask.sum()), int(rng.integers(1000))
    given: dict[str, Any] = {"drop_last": drop_last} | ({"mask": mask} if masked else {})
    kind = ["random", "chunk", "sequential", "replacement", "weights", "class", "weighted class", "own"][seed % 8]
    once = kind in ("random", "chunk", "sequential", "own")
    if kind in ("random", "replacement", "weights"):
        if not once:
            n_samples = int(rng.integers(100, 300))
            given |= {"num_samples": n_samples, "replacement": True}
        if kind == "weights":
            weights = rng.random(n_obs) * (rng.random(n_obs) < 0.7)
            given["weights"], mask = weights, mask & (weights > 0)
        make: partial[Sampler] = partial(RandomSampler, *window, rng=order_seed, **given)
    elif kind == "chunk":
        make = partial(ChunkSampler, *window, shuffle=bool(rng.integers(2)), rng=order_seed, **given)
    elif kind == "sequential":
        make = partial(SequentialSampler, *window, **given)
    elif kind == "own":
        mask[:], n_samples, drop_last = True, n_obs, False
        make = partial(Own, window[0] * window[1], batch_size, order_seed)
    else:
        classes, n_samples = pd.Categorical(rng.choice(list("abc"), n_obs)), int(rng.integers(100, 300))
        shares = np.array([1.0, 2.0, 0.0])
        mask &= classes != "c"
        given |= {"classes": classes, "num_samples": n_samples, "class_weights": shares, "rng": order_seed}
        make = partial(ClassSampler if kind == "class" else WeightedClassSampler, *window, **given)
        classes = classes if kind == "class" else None
    return Setup(
        n_obs,
        batch_size,
        make,
        once,
        drop_last,
        frozenset(np.flatnonzero(mask).tolist()),
        n_samples,
        classes,
        ranks=int(rng.integers(1, 5)),
        later_ranks=int(rng.integers(1, 5)),
        remainder=str(rng.choice(["drop", "pad", "wrap", "uneven"])),
        workers=int(rng.integers(1, 4)),
    )


def batches_of(batches: Any) -> Batches:
    """Return the rows of batches, compared with what the batches hold."""
    found = []
    for batch in batches:
        assert batch["X"][:, 0].tolist() == batch["index"].tolist()
        found.append(tuple(batch["index"].tolist()))
    return found


def sampled(sampler: Sampler, n_obs: int, **where: Any) -> Batches:
    """Return the rows of the batches that a worker asks for."""
    windows = [plan_window(request, n_obs) for request in sampler.sample(n_obs, **where)]
    return [tuple(w.rows[a:b].tolist()) for w in windows for a, b in pairwise(w.edges)]


def flat(batches: Batches) -> list[int]:
    return [row for batch in batches for row in batch]


def check_promise(setup: Setup, batches: Batches) -> None:
    """Check one epoch without ranks."""
    rows, short = flat(batches), setup.n_samples % setup.batch_size
    assert len(rows) == setup.n_samples - (short if setup.drop_last else 0)
    assert {len(batch) for batch in batches[:-1]} <= {setup.batch_size}
    assert set(rows) <= setup.rows
    if setup.once:
        assert len(set(rows)) == len(rows)
    if setup.classes is not None and setup.batch_size % setup.make()._chunk_size == 0:
        assert all(len(set(setup.classes[list(batch)])) == 1 for batch in batches)


def check_shares(setup: Setup, whole: Batches, shares: list[Batches], ranks: int) -> None:
    """Check what ranks yield of an epoch, or of the rest of one, against all that there was to yield."""
    rows, found = flat(whole), flat([batch for share in shares for batch in share])
    if setup.remainder != "uneven":
        assert len({len(share) for share in shares}) == 1
        assert {len(batch) for share in shares for batch in share} <= {setup.batch_size}
    if setup.remainder == "uneven":
        assert sorted(batch for share in shares for batch in share) == sorted(whole)
    elif setup.remainder == "drop":
        assert not Counter(found) - Counter(rows)  # no row more often than it was to come: ranks do not overlap
        assert len(found) > len(rows) - setup.batch_size * ranks
    else:
        assert not Counter(rows) - Counter(found)
        assert set(found) <= setup.rows


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_come_as_often_as_promised_whoever_reads_and_whenever_it_resumes(seed: int) -> None:
    setup, rng = draw_setup(seed), np.random.default_rng([21, seed])
    plain, together = setup.loader(setup.make()), setup.loader(setup.of_ranks(setup.ranks))
    whole = [batches_of(together) for _ in range(3)]
    loaders = [setup.loader(setup.sampler(rank, setup.ranks)) for rank in range(setup.ranks)]
    shares = [[batches_of(loader) for loader in loaders] for _ in range(3)]
    late = setup.remainder == "drop" and not setup.make().shuffle  # other rows are left out in odd epochs
    for epoch in range(3):
        check_promise(setup, batches_of(plain))
        if not (late and epoch % 2):
            check_shares(setup, whole[epoch], shares[epoch], setup.ranks)
        rows = flat([batch for share in shares[epoch] for batch in share])
        assert not setup.once or setup.remainder in ("pad", "wrap") or len(set(rows)) == len(rows)

    # Epochs that are broken off, and one that is resumed in another process.
    rank = int(rng.integers(setup.ranks))
    loader = setup.loader(setup.sampler(rank, setup.ranks))
    for epoch in range(3):
        taken = int(rng.integers(len(shares[epoch][rank]) + 1))
        assert batches_of(islice(iter(loader), taken)) == shares[epoch][rank][:taken]
        if not taken:
            loader.set_epoch(epoch + 1)
    state = json.dumps(loader.state_dict())
    if taken:
        resumed = setup.loader(setup.sampler(rank, setup.ranks))
        resumed.load_state_dict(json.loads(state))
        rest = shares[2][rank][taken:]
        assert batches_of(resumed) == (rest or batches_of(iter(loader)))

    # Workers of a rank, each resumed.
    share, of_workers = shares[0][rank], []
    for worker in range(setup.workers):
        where: dict[str, Any] = {"worker": (worker, setup.workers)}
        position = Position(workers=setup.workers)
        own = sampled(setup.sampler(rank, setup.ranks), setup.n_obs, position=position, **where)
        steps = int(rng.integers(len(own) + 1))
        position = Position(workers=setup.workers, steps=steps)
        assert sampled(setup.sampler(rank, setup.ranks), setup.n_obs, position=position, **where) == own[steps:]
        of_workers += own
    assert sorted(of_workers) == sorted(share)

    # The rest of an epoch, taken over by another number of ranks.
    steps = int(rng.integers(min(map(len, shares[0])) + 1))
    if 0 < steps < min(map(len, shares[0])):
        seen = [batch for share in shares[0] for batch in share[:steps]]
        loader = setup.loader(setup.sampler(0, setup.ranks))
        batches_of(islice(iter(loader), steps))
        others = [setup.loader(setup.sampler(rank, setup.later_ranks)) for rank in range(setup.later_ranks)]
        for other in others:
            other.load_state_dict(loader.state_dict())
        rest = [batches_of(other) for other in others]
        left = list((Counter(whole[0]) - Counter(seen)).elements())
        if setup.remainder in ("pad", "wrap"):  # which fill batches up
            left = [batch for batch in left if Counter(batch) - Counter(flat(seen))]
        check_shares(setup, left, rest, setup.later_ranks)
