"""Custom samplers: every pass is a function of seed and epoch, wherever they keep their generators."""

from __future__ import annotations

import json
import pickle
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader, diversity
from annbatch._plan.position import remaining
from annbatch._plan.window_rows import plan_window
from annbatch.abc import Sampler
from annbatch.samplers import ClassSampler, DistributedSampler, RandomSampler, RowSet

from .conftest import batches, flat

N_OBS = 96


class Own(Sampler):
    """Windows of 12 rows; subclasses say where the generator is."""

    batch_size = 4
    shuffle = False

    def n_batches(self, n_obs):
        return -(-n_obs // 4)

    def validate(self, n_obs):
        pass

    def draw_from(self):
        return self.gen

    def _sample(self, n_obs):
        left = np.arange(n_obs)
        while len(left):  # a global order, drawn as it goes
            rows = self.draw_from().permutation(left)[:12]
            yield {"requests": rows}
            left = np.setdiff1d(left, rows)


class Attribute(Own):
    def __init__(self, seed):
        self.gen = np.random.default_rng(seed)


class Old(Own):
    def __init__(self, seed):
        self.gen = np.random.RandomState(seed)


class Overridden(Own):
    def __init__(self, seed):
        self._numbers = np.random.default_rng(seed)

    @property
    def rng(self):
        return self._numbers

    def draw_from(self):
        return self.rng


class Listed(Own):
    def __init__(self, seed):
        self.gens = [None, np.random.default_rng(seed)]

    def draw_from(self):
        return self.gens[1]


class OfTheClass(Own):
    def __init__(self, seed):
        type(self).gen = np.random.default_rng(seed)


class Wrapper(Own):
    def __init__(self, seed, inner=None):
        self.inner = RandomSampler(3, 4, 4, rng=seed) if inner is None else inner

    def _sample(self, n_obs):
        yield from self.inner.sample(n_obs)


class WrapperOfOwn(Wrapper):
    def __init__(self, seed):
        super().__init__(seed, Wrapper(seed, Attribute(seed)))

    def _sample(self, n_obs):
        yield from self.inner.inner._sample(n_obs)


def loader_of(sampler, **settings):
    return Loader(batch_sampler=sampler, return_index=True, **settings).add_dataset(np.zeros((N_OBS, 1)))


def indices(loader, n=None):
    return [batch["index"].tolist() for batch in islice(loader, n)]


KINDS = [Attribute, Old, Overridden, Listed, OfTheClass, Wrapper, WrapperOfOwn]


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_numbers_are_from_epochs_differ_repeat_and_go_on(kind):
    loader = loader_of(kind(3))
    epochs = [indices(loader) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert all(sorted(flat(epoch)) == list(range(N_OBS)) for epoch in epochs)
    loader.set_epoch(2)
    indices(loader, 7)
    other = loader_of(kind(3))
    other.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert indices(other) == epochs[2][7:]
    with pytest.raises(ValueError, match=r"seed was \d+ and is \d+"):
        loader_of(kind(4)).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("remainder", ["drop", "wrap"])
def test_ranks_share_an_order_that_is_drawn_as_it_goes(kind, remainder):
    for epoch in (0, 1):
        ranks = [
            DistributedSampler(kind(3), dist_info=lambda rank=rank: (rank, 3), remainder=remainder) for rank in range(3)
        ]
        found = flat(flat([batches(rank, N_OBS, epoch) for rank in ranks]))
        assert sorted(found) == list(range(N_OBS))


def test_two_open_passes_do_not_disturb_each_other():
    sampler = Attribute(3)
    alone = batches(sampler, N_OBS)
    passes = [sampler.sample(N_OBS), sampler.sample(N_OBS)]
    for requests in zip(*passes, strict=True):
        assert all(np.array_equal(request["requests"], requests[0]["requests"]) for request in requests)
    assert batches(sampler, N_OBS) == alone


class Uneven(Own):
    """Batches of 4 and 3 rows, alternately."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def n_batches(self, n_obs):
        return n_obs // 7 * 2

    def _sample(self, n_obs):
        for start in range(0, n_obs // 7 * 7, 7):
            yield {"requests": start + self.rng.permutation(7)}


def test_filling_up_within_an_epoch_does_not_change_what_follows():
    expected = batches(Uneven(1), 70)
    found = batches(DistributedSampler(Uneven(1), dist_info=lambda: (0, 1), remainder="wrap"), 70)
    assert [batch[: len(own)] for batch, own in zip(found, expected, strict=True)] == expected
    assert {len(batch) for batch in found} == {4}


class InOrder(Own):
    """Permutes three rows; the base class then shuffles them again."""

    shuffle = True
    batch_size = 3

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def _sample(self, n_obs):
        for start in range(0, n_obs, 3):
            yield {"requests": start + self.rng.permutation(3)}


def test_the_first_window_is_as_uniform_as_the_others():
    sampler, orders = InOrder(), []
    for epoch in range(600):
        sampler.set_epoch(epoch)
        orders.append(tuple(plan_window(next(sampler.sample(6)), 6).rows.tolist()))
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert 60 <= min(counts) <= max(counts) <= 145  # of 100 expected, four standard deviations


def test_a_generator_that_is_kept_elsewhere_is_refused():
    elsewhere = np.random.default_rng(0)

    class Elsewhere(Own):
        @property
        def rng(self):
            return elsewhere

    with pytest.raises(ValueError, match="`rng` of Elsewhere must be an attribute of the sampler"):
        loader_of(Elsewhere())


class Unseeded(Own):
    shuffle = True
    draw_from = None

    def _sample(self, n_obs):
        for start in range(0, n_obs, 12):
            yield {"requests": [slice(start, start + 12)]}


@pytest.mark.parametrize("make", [Unseeded, lambda: Wrapper(None)])
def test_copies_of_a_loader_without_a_seed_agree(make):
    loader = loader_of(make())
    copies = [pickle.loads(pickle.dumps(loader)) for _ in range(2)]
    assert indices(copies[0]) == indices(copies[1]) == indices(loader)
    assert indices(loader) != indices(loader_of(make()))


def test_a_wrapper_without_a_seed_takes_that_of_a_state_and_of_ranks():
    loader = loader_of(Wrapper(None))
    first = indices(loader)
    loader.set_epoch(0)
    indices(loader, 5)
    other = loader_of(Wrapper(None))
    other.load_state_dict(loader.state_dict())
    assert indices(other) == first[5:]
    ranks = [DistributedSampler(Wrapper(None), dist_info=lambda rank=rank: (rank, 2)) for rank in range(2)]
    assert sorted(flat(flat([batches(rank, N_OBS) for rank in ranks]))) == list(range(N_OBS))


def test_looking_at_a_sampler_does_not_change_it():
    for look in (lambda loader: diversity(loader, "type"), lambda loader: ranks_of_one(loader.batch_sampler)):
        sampler = Attribute(5)
        loader = Loader(batch_sampler=sampler, return_index=True)
        loader.add_dataset(np.zeros((N_OBS, 1)), pd.DataFrame({"type": ["a", "b"] * (N_OBS // 2)}))
        sampler.rng = np.random.default_rng(8)  # after the loader drew a seed
        look(loader)
        again = loader_of(Attribute(5))
        again.batch_sampler.rng = np.random.default_rng(8)
        assert indices(loader) == indices(again)


def ranks_of_one(sampler):
    return DistributedSampler(sampler, dist_info=lambda: (0, 1))


def test_the_seed_that_ranks_were_given_is_theirs():
    state = loader_of(ranks_of_one(RandomSampler(3, 4, 4, rng=1))).state_dict()
    with pytest.raises(ValueError, match=r"seed was \d+ and is \d+"):
        loader_of(ranks_of_one(RandomSampler(3, 4, 4, rng=2))).load_state_dict(state)


# States ---------------------------------------------------------------------------------------------------------------


def test_states_are_json_whatever_integers_were_given():
    one = np.int64(1)
    sampler = RandomSampler(3 * one, 4 * one, 4 * one, num_samples=60 * one, drop_last=np.bool_(True), rng=one)
    loader = loader_of(sampler)
    loader.set_epoch(one)
    own = Own()
    own.batch_size, own.gen = one * 4, np.random.default_rng(0)
    for state in (loader.state_dict(), loader_of(own).state_dict()):
        assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: RandomSampler(2.5, 4, 5), r"`chunk_size` must be an integer, got 2.5"),
        (lambda: RandomSampler(4, 4, 4, num_samples=50.0), r"`num_samples` must be an integer, got 50.0"),
        (lambda: RandomSampler(4, 4, 4, mask=slice(0.0, 5)), r"`mask.start` must be an integer, got 0.0"),
        (lambda: loader_of(Attribute(0)).set_epoch(1.5), r"`epoch` must be an integer, got 1.5"),
        (lambda: ranks_of_one(5), r"`sampler` must be a Sampler that is not distributed already, got int"),
        (lambda: ranks_of_one(ranks_of_one(Attribute(0))), r"not distributed already, got DistributedSampler"),
    ],
)
def test_what_is_of_the_wrong_type_is_refused(wrong, message):
    with pytest.raises(TypeError, match=message):
        wrong()


def test_a_state_has_mask_and_number_of_batches_of_a_custom_sampler():
    state = loader_of(Attribute(0)).state_dict()
    masked = Attribute(0)
    masked.mask = slice(0, 12)
    with pytest.raises(ValueError, match="mask was '0:' and is '0:12'"):
        loader_of(masked).load_state_dict(state)

    class Twice(Attribute):
        def n_batches(self, n_obs):
            return 2 * super().n_batches(n_obs)

    Twice.__name__ = "Attribute"
    with pytest.raises(ValueError, match="n_batches was 24 and is 48"):
        loader_of(Twice(0)).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -3},
        {"steps": -2},
        {"new": 1},
        {"dealt": None},
        {"dealt": [[0, 5]]},
        {"steps": 1.5},
        {"ranks": 0},
    ],
)
def test_a_position_that_none_wrote_is_refused(change):
    state = loader_of(Attribute(0)).state_dict()
    state["position"] |= change
    with pytest.raises(ValueError, match="`state` must have a position as `state_dict` writes it, got"):
        loader_of(Attribute(0)).load_state_dict(state)
    del state["position"]
    with pytest.raises(ValueError, match="`state` must have position, sampler and data, got no position"):
        loader_of(Attribute(0)).load_state_dict(state)


def test_weights_are_those_that_were_given():
    weights, classes = np.ones(N_OBS), np.arange(N_OBS) % 2
    by_weight = RandomSampler(3, 4, 4, weights=weights, rng=0)
    by_class = ClassSampler(3, 4, 4, classes=pd.Categorical.from_codes(classes, ["a", "b"]), num_samples=24, rng=0)
    before = [(s.identity(), batches(s, N_OBS)) for s in (by_weight, by_class)]
    weights[:], classes[:] = 0, 0
    assert [(s.identity(), batches(s, N_OBS)) for s in (by_weight, by_class)] == before


def test_large_weights_do_not_overflow():
    sampler = RandomSampler(4, 3, 4, weights=np.full(N_OBS, 1e308), num_samples=4_000, rng=0)
    assert set(flat(batches(sampler, N_OBS))) == set(range(N_OBS))


def test_a_digest_is_computed_once():
    rows = RowSet(np.arange(10) * 2)
    assert rows.digest() is rows.digest()


def test_what_is_left_after_many_restarts_is_as_few_stretches_as_can_be():
    left = [range(100_000)]
    for _ in range(200):  # one rank, again and again: one stretch, however often
        left = remaining(left, 3, [(0, sum(map(len, left)))])
    assert left == [range(600, 100_000)]
    assert remaining([range(0, 4), range(4, 8)], 1, [(0, 4), (4, 8)]) == [range(1, 4), range(5, 8)]
    assert remaining([range(0, 9)], 0, [(0, 3), (3, 6), (6, 9)]) == [range(0, 9)]


def test_an_iteration_that_was_superseded_says_nothing_more():
    loader = loader_of(Attribute(0))
    state = loader.state_dict()
    old = iter(loader)
    next(old)
    loader.load_state_dict(state | {"position": {**state["position"], "epoch": 2, "steps": 5}})
    next(old)
    assert loader.state_dict()["position"]["steps"] == 5
    list(old)
    assert loader.epoch == 2
    assert len(indices(loader)) == N_OBS // 4 - 5
    old = iter(loader)
    next(old)
    loader.set_epoch(7)
    list(old)
    assert (loader.epoch, loader.state_dict()["position"]["steps"]) == (7, 0)
