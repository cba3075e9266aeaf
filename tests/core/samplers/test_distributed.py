"""Ranks: every row on one of them, the same number of equal batches, and what is left taken up by others."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import Loader
from annbatch._plan.position import Position, cut, parts, remaining
from annbatch.abc import Sampler
from annbatch.samplers import ClassSampler, DistributedSampler, RandomSampler, SequentialSampler

from .conftest import batches, flat

pytestmark = pytest.mark.filterwarnings("ignore:A batch of . rows instead of 5 is yielded")  # by `Old`, as it is

RANKS = [1, 2, 3, 4, 7, 8, 64]
FEW = settings(max_examples=max(2, settings().max_examples // 4))  # of each number of ranks


class Old(Sampler):
    """As programs for 0.3 have them: draws from its generator as it goes."""

    def __init__(self, rng=None):
        self._rng = rng

    batch_size = 5
    shuffle = True

    def n_batches(self, n_obs):
        return sum(-(-min(20, n_obs - start) // 5) for start in range(0, n_obs, 20))

    def validate(self, n_obs):
        pass

    def _sample(self, n_obs):
        order = np.arange(n_obs) if self.rng is None else self.rng.permutation(n_obs)
        for start in range(0, n_obs, 20):
            yield {"requests": order[start : start + 20]}


SAMPLERS = {
    "random": lambda seed: RandomSampler(4, 5, 5, rng=seed),
    "single rows": lambda seed: RandomSampler(1, 10, 5, rng=seed),
    "masked": lambda seed: RandomSampler(4, 5, 5, mask=np.arange(1000) % 7 > 0, rng=seed),
    "sequential": lambda seed: SequentialSampler(4, 5, 5),
    "custom": lambda seed: Old(np.random.default_rng(seed)),
}


def ranks_of(make, n_ranks: int, **settings) -> list[DistributedSampler]:
    return [
        DistributedSampler(make(3), dist_info=lambda rank=rank: (rank, n_ranks), **settings) for rank in range(n_ranks)
    ]


def shares(samplers, n_obs, epoch=0, **where):
    return [batches(sampler, n_obs, epoch, **where) for sampler in samplers]


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("make", [SAMPLERS["random"], SAMPLERS["single rows"], SAMPLERS["sequential"]])
@FEW
@given(n_obs=st.integers(320, 1_500), epoch=st.integers(0, 3))
def test_every_row_is_on_one_rank_but_for_a_remainder(make, n_ranks, n_obs, epoch):
    found = shares(ranks_of(make, n_ranks), n_obs, epoch)
    rows = flat(flat(found))
    assert len(set(rows)) == len(rows) > n_obs - 5 * n_ranks
    assert set(rows) <= set(range(n_obs))
    assert {len(batch) for share in found for batch in share} == {5}
    assert {len(share) for share in found} == {n_obs // 5 // n_ranks}
    assert ranks_of(make, n_ranks)[-1].n_batches(n_obs) == n_obs // 5 // n_ranks


@pytest.mark.parametrize("n_ranks", RANKS)
@pytest.mark.parametrize("remainder", ["pad", "wrap"])
@pytest.mark.parametrize("make", [SAMPLERS["random"], SAMPLERS["sequential"]])
@FEW
@given(n_obs=st.integers(1, 800), epoch=st.integers(0, 3))
def test_a_remainder_is_filled_up(make, remainder, n_ranks, n_obs, epoch):
    found = shares(ranks_of(make, n_ranks, remainder=remainder), n_obs, epoch)
    n_batches = -(-n_obs // 5)
    assert {len(batch) for share in found for batch in share} == {5}
    assert {len(share) for share in found} == {-(-n_batches // n_ranks)}
    counts = np.bincount(flat(flat(found)), minlength=n_obs)
    assert counts.min() >= 1
    if remainder == "wrap" and n_obs >= 5 * n_ranks:
        assert counts.max() <= 3  # the last batch is filled up from the first, which a rank may have again
    # What is filled up is at the end of a rank's share, and with "pad" shows as a row that it has already.
    for share in found:
        rows = flat(share)
        if remainder == "pad" and n_batches >= n_ranks:
            assert len(rows) - len(set(rows)) < 5 * 2
    own = [set(flat(share)) for share in found]
    if remainder == "pad" and n_batches >= n_ranks:
        assert sum(map(len, own)) == n_obs  # no row on two ranks


@pytest.mark.parametrize("n_ranks", RANKS)
@FEW
@given(n_obs=st.integers(1, 800))
def test_batches_may_be_left_as_they_are(n_ranks, n_obs):
    found = shares(ranks_of(SAMPLERS["random"], n_ranks, enforce_equal_batches=False), n_obs)
    assert sorted(flat(flat(found))) == list(range(n_obs))
    sizes = [len(share) for share in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_ranks_see_other_rows_in_every_epoch_and_none_is_left_out_for_ever(name):
    samplers = ranks_of(SAMPLERS[name], 4)
    n_obs = 1_000 if name == "masked" else 333
    epochs = [shares(samplers, n_obs, epoch) for epoch in range(12)]
    seen = set(flat([flat(flat(epoch)) for epoch in epochs]))
    expected = set(np.flatnonzero(np.arange(1_000) % 7 > 0).tolist()) if name == "masked" else set(range(n_obs))
    assert seen == expected
    if name != "sequential":
        for rank in range(4):
            own = [set(flat(epoch[rank])) for epoch in epochs]
            assert all(len(a & b) < len(a) / 2 for a, b in pairwise(own))


def test_in_order_each_rank_has_a_contiguous_part():
    found = shares(ranks_of(SAMPLERS["sequential"], 3), 60)
    assert [flat(share) for share in found] == [list(range(0, 20)), list(range(20, 40)), list(range(40, 60))]


WORLDS = [1, 2, 3, 4, 8]


@pytest.mark.parametrize("before", WORLDS)
@pytest.mark.parametrize("after", WORLDS)
@FEW
@given(name=st.sampled_from(sorted(SAMPLERS)), data=st.data())
def test_other_ranks_take_up_the_rest_of_an_epoch(before, after, name, data):
    n_obs = data.draw(st.integers(200, 600))
    if name == "masked":
        n_obs = 1_000
    remainder = data.draw(st.sampled_from(["drop", "pad", "wrap"]))
    epoch = data.draw(st.integers(0, 3))
    first = ranks_of(SAMPLERS[name], before, remainder=remainder)
    undisturbed = shares(first, n_obs, epoch)
    all_rows = sorted(flat(batches(SAMPLERS[name](3), n_obs, epoch)))
    assigned, seen, world = (), [], before
    for n_ranks in (before, after, data.draw(st.sampled_from(WORLDS))):
        samplers = ranks_of(SAMPLERS[name], n_ranks, remainder=remainder)
        position = Position(epoch, assigned=assigned, ranks=n_ranks)
        rest = shares(samplers, n_obs, epoch, position=position)
        assert len({len(share) for share in rest}) == 1
        steps = data.draw(st.integers(0, len(rest[0])))
        if steps == len(rest[0]) and remainder != "drop":
            steps = max(0, steps - 1)  # before what is filled up
        if assigned == ():
            assert rest == undisturbed
        seen += [batch for share in rest for batch in share[:steps]]
        tail = shares(samplers, n_obs, epoch, position=Position(epoch, assigned=assigned, ranks=n_ranks, steps=steps))
        assert tail == [share[steps:] for share in rest]
        assigned, world = (*assigned, (n_ranks, steps)), n_ranks
    seen += [batch for share in tail for batch in share]
    counts = np.bincount(flat(seen), minlength=n_obs)[all_rows]
    if remainder == "drop":
        assert counts.max() <= 1
        assert counts.sum() > len(all_rows) - 5 * world - 5 * (name == "custom")
    else:
        assert counts.min() == 1
        assert counts.sum() < len(all_rows) + 5 * world + 5


@given(st.integers(0, 200), st.integers(1, 9), st.booleans(), st.booleans())
def test_parts_are_contiguous_and_as_equal_as_asked(n, readers, equal, from_end):
    found = parts(n, readers, equal=equal, from_end=from_end)
    sizes = [stop - start for start, stop in found]
    assert [start for start, _ in found[1:]] == [stop for _, stop in found[:-1]]
    assert max(sizes) - min(sizes) <= (not equal)
    assert sum(sizes) == (n - n % readers if equal else n)
    assert (found[0][0], found[-1][1]) == ((n % readers, n) if equal and from_end else (0, sum(sizes)))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=5),
    st.integers(1, 5),
    st.integers(0, 12),
    st.booleans(),
)
def test_what_is_left_is_what_nobody_took(pieces, readers, steps, equal):
    stretches, first = [], 0
    for gap, length in pieces:
        stretches.append(range(first + gap, first + gap + length))
        first += gap + length
    everything = [batch for stretch in stretches for batch in stretch]
    of_readers = parts(len(everything), readers, equal=equal)
    taken = [batch for start, stop in of_readers for batch in everything[start:stop][:steps]]
    left = [batch for stretch in remaining(stretches, steps, of_readers) for batch in stretch]
    assert sorted(taken + left) == everything
    assert [batch for stretch in cut(stretches, 3, 9) for batch in stretch] == everything[3:9]


@pytest.mark.parametrize("n_ranks", [1, 3])
@given(n_workers=st.integers(1, 5), n_obs=st.integers(20, 400))
def test_workers_split_a_ranks_share(n_ranks, n_workers, n_obs):
    for sampler in ranks_of(SAMPLERS["random"], n_ranks, remainder="wrap"):
        of_workers = [batches(sampler, n_obs, worker=(worker, n_workers)) for worker in range(n_workers)]
        assert [batch for share in of_workers for batch in share] == batches(sampler, n_obs)
        sizes = [len(share) for share in of_workers]
        assert max(sizes) - min(sizes) <= 1


def test_ranks_without_a_seed_agree_on_one():
    samplers = [DistributedSampler(RandomSampler(4, 5, 5), dist_info=lambda rank=rank: (rank, 2)) for rank in range(2)]
    found = shares(samplers, 100)
    assert sorted(flat(flat(found))) == list(range(100))
    other = [DistributedSampler(Old(), dist_info=lambda rank=rank: (rank, 2)) for rank in range(2)]
    assert sorted(flat(flat(shares(other, 100)))) == list(range(100))


def test_classes_are_drawn_apart_on_every_rank():
    classes = pd.Categorical(["a", "b"] * 50)
    samplers = ranks_of(lambda seed: ClassSampler(4, 5, 5, classes=classes, num_samples=100, rng=seed), 3)
    found = shares(samplers, 100)
    assert [len(share) for share in found] == [20, 20, 20]
    assert found[0] != found[1] != found[2]


SAMPLED = {
    "classes": lambda n: ClassSampler(4, 5, 5, classes=pd.Categorical(["a", "b"] * 50), num_samples=n, rng=7),
    "replacement": lambda n: RandomSampler(4, 5, 5, replacement=True, num_samples=n, rng=7),
    "some rows": lambda n: RandomSampler(4, 5, 5, num_samples=n, rng=7),
}


@pytest.mark.parametrize("make", SAMPLED.values(), ids=SAMPLED)
@pytest.mark.parametrize("others", [1, 2, 5])
def test_num_samples_is_of_each_rank_and_an_epoch_of_the_ranks_that_began_it(make, others):
    ranks = [DistributedSampler(make(20), dist_info=lambda rank=rank: (rank, 3)) for rank in range(3)]
    assert [sampler.n_batches(100) for sampler in ranks] == [4, 4, 4]
    whole = batches(make(60), 100)
    found = shares(ranks, 100)
    assert [batch for share in found for batch in share] == whole

    position = Position(0, ranks=3, steps=1).resumed_by(others, 1)
    rest = []
    for rank in range(others):
        sampler = DistributedSampler(make(20), dist_info=lambda rank=rank: (rank, others))
        assert sampler.identity() == ranks[0].identity()
        assert sampler.n_batches_of_epoch(100) == ranks[0].n_batches_of_epoch(100)
        resumed = batches(sampler, 100, position=position)
        assert len(resumed) == sampler.n_remaining_batches(100, position=position) == 9 // others
        rest += resumed
    left = [batch for share in found for batch in share[1:]]
    assert [batch for batch in left if batch in rest] == rest


def test_more_samples_than_rows_are_refused_for_all_ranks_together():
    sampler = DistributedSampler(RandomSampler(4, 5, 5, num_samples=60, rng=0), dist_info=lambda: (0, 2))
    with pytest.raises(ValueError, match=r"`num_samples` must be at most the 100 rows .* without replacement, got 120"):
        sampler.validate(100)


def test_the_sampler_is_what_it_wraps():
    sampler = DistributedSampler(RandomSampler(4, 5, 5, mask=slice(3, 90), rng=0), dist_info=lambda: (1, 2))
    assert (sampler.rank, sampler.world_size, sampler.batch_size, sampler.shuffle) == (1, 2, 5, True)
    assert sampler.mask == slice(3, 90)
    sampler.mask = slice(0, 20)
    assert set(flat(batches(sampler, 100))) <= set(range(20))
    before = batches(sampler, 100)
    sampler.rng = np.random.default_rng(8)
    assert batches(sampler, 100) != before


def no_launcher(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "PMI_", "RANK", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"}, (0, 4)),
        ({"PMI_RANK": "2", "PMI_SIZE": "3"}, (2, 3)),
        ({"RANK": "0", "WORLD_SIZE": "1", "SLURM_PROCID": "5", "SLURM_NTASKS": "6"}, (0, 1)),
    ],
)
def test_launchers_say_the_rank(monkeypatch, variables, expected):
    no_launcher(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for sampler in (
        DistributedSampler(SequentialSampler(1, 1, 1), dist_info="env"),
        DistributedSampler(SequentialSampler(1, 1, 1)),
        Loader(distributed=True).batch_sampler,
    ):
        assert (sampler.rank, sampler.world_size) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"WORLD_SIZE": "1"},
        {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # a batch script, without srun
    ],
)
def test_there_is_one_rank_where_nothing_tells_of_more(monkeypatch, variables, recwarn):
    no_launcher(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    sampler = DistributedSampler(SequentialSampler(1, 1, 1))
    assert (sampler.rank, sampler.world_size) == (0, 1)
    assert len(list(Loader().add_dataset(np.eye(3)))) == 3


def test_a_number_of_ranks_without_the_rank_is_refused(monkeypatch):
    no_launcher(monkeypatch)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="needs the rank beside WORLD_SIZE=2, got no RANK: join the processes"):
        Loader(distributed=True)
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(RuntimeError, match=r"RANK and WORLD_SIZE \(torchrun\) must be integers, got 'first' and '2'"):
        Loader(distributed=True)


def test_what_is_not_distributed_says_so(monkeypatch):
    no_launcher(monkeypatch)
    with pytest.raises(RuntimeError, match=r"`dist_info='env'` needs the variables of a launcher.*RANK and WORLD_SIZE"):
        DistributedSampler(SequentialSampler(1, 1, 1), dist_info="env")


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_framework_that_is_not_initialized_says_so(framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed", exc_type=ImportError)
    with pytest.raises(RuntimeError, match=f"`dist_info='{framework}'` needs .* joined: call"):
        DistributedSampler(SequentialSampler(1, 1, 1), dist_info=framework)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dist_info": "mpi"}, "`dist_info` must be 'auto', 'torch', 'jax', 'env' or a callable, got 'mpi'"),
        ({"dist_info": lambda: (2, 2)}, r"`dist_info` must give a rank in 0..world_size, got 2 and 2"),
        ({"dist_info": lambda: (0, 2), "remainder": "keep"}, "`remainder` must be 'drop', 'pad' or 'wrap', got 'keep'"),
        (
            {"dist_info": lambda: (0, 2), "remainder": "pad", "enforce_equal_batches": False},
            "`remainder` must be left out where enforce_equal_batches is False, got 'pad'",
        ),
    ],
)
def test_wrong_arguments_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistributedSampler(SequentialSampler(1, 1, 1), **settings)


def test_too_few_rows_for_all_ranks_are_refused():
    sampler = DistributedSampler(SequentialSampler(5, 1, 5), dist_info=lambda: (0, 4))
    with pytest.raises(ValueError, match=r"each of the 4 ranks, got 3 whole batches of 19 rows"):
        sampler.validate(19)
    with pytest.raises(ValueError, match=r"`mask.stop` must be at most"):
        DistributedSampler(SequentialSampler(5, 1, 5, mask=slice(0, 30)), dist_info=lambda: (0, 1)).validate(20)


def test_a_short_batch_that_the_sampler_does_not_tell_of():
    first, last = (DistributedSampler(Old(), dist_info=lambda rank=rank: (rank, 2)) for rank in range(2))
    assert all(len(split) == 5 for request in first.sample(38) for split in request["splits"])
    with pytest.warns(UserWarning, match=r"A batch of 3 rows instead of 5 .* `has_short_batch\(n_obs\)` of Old must"):
        list(last.sample(38))
    filled = DistributedSampler(Old(), dist_info=lambda: (1, 2), remainder="pad")
    assert all(len(split) == 5 for request in filled.sample(38) for split in request["splits"])
