"""Batches of several loaders: each loader's own, in the order of the mix, and the rest of them from any state."""

from __future__ import annotations

import gc
import json
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import Loader, mix
from annbatch._loading.mix_position import MixPosition
from annbatch.samplers import DistributedSampler, PairedSampler, RandomSampler
from annbatch.tokens import TopGenes


def loader_of(n_obs: int, *, seed: int | None = 0, ranks: tuple[int, int] | None = None, **arguments) -> Loader:
    """Return a loader of batches of 4 rows."""
    sampler = RandomSampler(2, 4, 4, rng=seed, **arguments)
    if ranks is not None:
        sampler = DistributedSampler(sampler, dist_info=lambda: ranks)
    rows = np.arange(n_obs, dtype="f4")[:, None]
    return Loader(batch_sampler=sampler, return_index=True, prefetch=0).add_dataset(rows)


def found_in(batches) -> list[tuple[int, list[int]]]:
    """Return loader and rows of each batch."""
    found = []
    for batch in batches:
        assert batch["X"][:, 0].tolist() == batch["index"].tolist()
        found.append((batch["source"], batch["index"].tolist()))
    return found


SIZES, WEIGHTS = (40, 90, 8), (3, 2, 0)


@pytest.mark.parametrize(("stop", "passes"), [("first", [1, 1]), ("all", [4, 1]), ("never", [1 << 20, 1 << 20])])
def test_each_loader_yields_its_own_batches(stop, passes):
    loaders = [loader_of(n) for n in SIZES]
    mixed = mix(loaders, WEIGHTS, seed=0, stop=stop)
    for epoch in range(2):
        found = found_in(islice(mixed, 200))
        for number in (0, 1):
            own = [rows for source, rows in found if source == number]
            loaders[number].set_epoch(epoch * passes[number])
            expected = [rows for _ in range(13) for rows in (batch["index"].tolist() for batch in loaders[number])]
            assert own == expected[: len(own)]
        assert {source for source, _ in found} == {0, 1}
        assert len(found) == (200 if stop == "never" else len(mixed))
        assert mixed.epoch == epoch + 1


def test_stops():
    loaders = [loader_of(n) for n in SIZES]  # of 10, 23 and 2 batches
    assert len(mix(loaders, [1, 1, 0])) == 10 + 10
    assert len(mix(loaders, [1, 1, 0], stop="all")) == 23 + 23
    assert len(mix(loaders, [3, 1, 0])) == 10 + 3
    assert len(mix(loaders, stop="all")) == 3 * 23
    endless = mix(loaders, stop="never")
    with pytest.raises(TypeError, match="A mix has no length with stop='never'"):
        len(endless)
    assert len(list(islice(endless, 500))) == 500


def test_the_order_depends_on_seed_and_epoch():
    def sources(mixed):
        return [batch["source"] for batch in islice(mixed, 60)]

    loaders = [loader_of(200), loader_of(200)]
    for stop in ("first", "never"):
        first = mix(loaders, seed=0, stop=stop)
        orders = [sources(first), sources(first), sources(mix(loaders, seed=1, stop=stop))]
        assert len(set(map(tuple, orders))) == 3
        first.set_epoch(0)
        assert sources(first) == orders[0] == sources(mix(loaders, seed=0, stop=stop))
        assert sources(mix(loaders, stop=stop)) != sources(mix(loaders, stop=stop))


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["first", "all", "never"])
@pytest.mark.parametrize("sizes", [SIZES, (37, 37, 5), (6, 99, 50)])
def test_every_batch_is_one_to_go_on_from(stop, sizes):
    def make(seed=0):
        return mix([loader_of(n, seed=1) for n in sizes], WEIGHTS, seed=seed, stop=stop)

    mixed, undisturbed, states = make(), [], []
    states = [json.dumps(mixed.state_dict())]
    for batch in islice(mixed, 70):
        undisturbed += found_in([batch])
        states.append(json.dumps(mixed.state_dict()))
    following = found_in(islice(mixed, 20))
    for taken, state in enumerate(states):
        other = make(None)  # takes the seed of the state
        other.load_state_dict(json.loads(state))
        assert json.dumps(other.state_dict()) == state
        other.set_epoch(other.epoch)  # keeps the position
        if taken == len(undisturbed) and stop != "never":
            assert other.epoch == 1
            assert found_in(islice(other, 20)) == following
            continue
        assert other.epoch == 0
        rest = found_in(islice(other, 70 - taken))
        assert rest == undisturbed[taken:]
        if taken % 9 == 0:
            assert found_in(islice(other, 20)) == following
    assert max(map(len, states)) < 3_000


def test_states_follow_one_another():
    def make():
        return mix([loader_of(30), loader_of(70)], seed=0, stop="all")

    undisturbed = make()
    expected = [batch for _ in range(3) for batch in found_in(undisturbed)]
    found, state = [], None
    while len(found) < len(expected):
        mixed = make()
        if state is not None:
            mixed.load_state_dict(state)
        found += found_in(islice(mixed, 7))
        state = mixed.state_dict()
    assert found[: len(expected)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["first", "all", "never"])
@settings(max_examples=10)
@given(data=st.data())
def test_other_ranks_go_on(stop, data):
    """From where all ranks stand, with as many as drawn, until the epoch ends."""
    sizes, weights = (
        data.draw(st.tuples(st.integers(60, 120), st.integers(60, 250))),
        data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
    )
    seen, state, total = [{}, {}], None, 0
    while total < 150:
        world_size = data.draw(st.sampled_from([1, 2, 3]))
        mixes = [
            mix([loader_of(n, ranks=(rank, world_size)) for n in sizes], weights, stop=stop)
            for rank in range(world_size)
        ]
        for mixed in mixes:
            if state is not None:
                mixed.load_state_dict(state)
        steps = data.draw(st.integers(5, 20))
        taken = [found_in(islice(mixed, steps)) for mixed in mixes]
        orders = {tuple(source for source, _ in found) for found in taken}
        assert len(orders) == 1  # the same on every rank
        total += len(orders.pop()) * world_size
        for source, rows in (batch for found in taken for batch in found):
            for row in rows:
                seen[source][row] = seen[source].get(row, 0) + 1
        states = {json.dumps(mixed.state_dict()) for mixed in mixes}
        assert len(states) == 1
        state = json.loads(states.pop())
        if state["position"]["epoch"] or not taken[0]:
            break
    dropped = 4 * 3 + 3  # rows that are too few for a batch on each rank
    complete = [len(rows) >= n - dropped for rows, n in zip(seen, sizes, strict=True)]
    if stop == "first":
        assert all(max(rows.values()) == 1 for rows in seen)
    if state["position"]["epoch"]:
        assert any(complete) if stop == "first" else all(complete)


def test_a_mix_leaves_its_loaders_alone():
    loaders = [loader_of(40), loader_of(80)]
    mixed = mix(loaders, seed=0, stop="all")
    expected = found_in(mixed)
    mixed.set_epoch(0)
    found = []
    for batch in mixed:
        found += found_in([batch])
        next(iter(loaders[0]))  # as a validation pass would
    assert found == expected
    assert loaders[1].epoch == 0
    assert loaders[1].stats.batches > 0


def test_iterations_do_not_disturb_each_other():
    mixed = mix([loader_of(40), loader_of(80)], seed=0)
    epochs = [found_in(mixed), found_in(mixed)]
    mixed.set_epoch(0)
    one, other = iter(mixed), iter(mixed)
    found = [found_in([next(one)]) + found_in(islice(one, 3)), found_in(islice(other, 5))]
    found[0] += found_in(one)
    state = mixed.state_dict()
    assert (found[0], found[1]) == (epochs[0], epochs[1][:5])
    assert state["position"]["epoch"] == 1  # of the iteration that yielded last
    mixed.set_epoch(7)
    found[1] += found_in(other)
    assert found[1] == epochs[1]
    assert mixed.epoch == 7


def test_an_epoch_that_is_left_is_followed_by_the_next():
    mixed = mix([loader_of(40), loader_of(80)], seed=0)
    epochs = [found_in(mixed), found_in(mixed)]
    mixed.set_epoch(0)
    assert found_in(islice(mixed, 3)) == epochs[0][:3]
    assert found_in(mixed) == epochs[1]


def test_leaving_a_loop_closes_every_loader():
    loaders = [loader_of(400), loader_of(400)]
    mixed = mix(loaders, seed=0)
    for batch in mixed:
        if batch["source"] == 1:
            break
    del batch
    gc.collect()
    for loader in loaders:
        loader.add_dataset(np.zeros((4, 1), dtype="f4"))  # an open iteration would forbid it
    with mixed:
        kept = next(iter(mixed))
    assert kept["X"][:, 0].tolist() == kept["index"].tolist()


def test_weights_by_temperature():
    loaders = [loader_of(400), loader_of(200, mask=slice(0, 100))]
    np.testing.assert_allclose(mix(loaders, temperature=1).weights, [1, 1 / 4])
    np.testing.assert_allclose(mix(loaders, temperature=2).weights, [1, 1 / 2])
    np.testing.assert_allclose(mix(loaders, temperature=np.inf).weights, [1, 1])
    assert min(mix(loaders, temperature=1e-9).weights) > 0
    assert mix(loaders).weights == [1, 1]
    assert mix(loaders, np.array([3, 1])).weights == [3, 1]


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": [1]}, ValueError, r"`weights` must have one number per loader \(2\), got 1"),
        ({"weights": [1, -1]}, ValueError, r"`weights` must be finite and not negative, got -1\.0"),
        ({"weights": [1, np.nan]}, ValueError, "`weights` must be finite and not negative, got nan"),
        ({"weights": [1, np.inf]}, ValueError, "`weights` must be finite and not negative, got inf"),
        ({"weights": [0, 0]}, ValueError, "`weights` must have at least one positive weight, got 2 of 0"),
        ({"weights": "31"}, TypeError, "`weights` must be a list of numbers, got '31'"),
        ({"weights": {0: 3, 1: 1}}, TypeError, "`weights` must be a list of numbers, got {0: 3, 1: 1}"),
        ({"weights": [[1], [1]]}, TypeError, "`weights` must be a list of numbers, got"),
        ({"weights": [1, 10**400]}, ValueError, "`weights` must be finite and not negative, got inf"),
        ({"weights": 3}, TypeError, "`weights` must be a list of numbers, got 3"),
        ({"weights": [1, None]}, TypeError, r"`weights` must be a list of numbers, got \[1, None\]"),
        ({"weights": [1, 1], "temperature": 2}, ValueError, "`temperature` must be left out where weights are given"),
        ({"temperature": 0}, ValueError, "`temperature` must be a positive number, got 0"),
        ({"temperature": "a"}, ValueError, "`temperature` must be a positive number, got 'a'"),
        ({"temperature": np.nan}, ValueError, "`temperature` must be a positive number, got nan"),
        ({"stop": "last"}, ValueError, "`stop` must be 'first', 'all' or 'never', got 'last'"),
        ({"seed": -1}, ValueError, "`seed` must not be negative, got -1"),
        ({"seed": 0.5}, TypeError, "`seed` must be an integer, got 0.5"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        mix([loader_of(8), loader_of(8)], **arguments)


def test_loaders_that_do_not_mix_are_refused():
    for loaders in (loader_of(8), [loader_of(8), [1, 2]], [mix([loader_of(8)])], None, {"a": loader_of(8)}):
        with pytest.raises(TypeError, match="`loaders` must be a list of Loader objects, got"):
            mix(loaders)
    with pytest.raises(ValueError, match="`loaders` must hold at least one Loader, got none"):
        mix([])
    with pytest.raises(ValueError, match=r"distributed to the same number of ranks, got \[1, 2\]"):
        mix([loader_of(40), loader_of(40, ranks=(0, 2))])
    with pytest.raises(ValueError, match=r"`temperature` must be given once every loader has rows, got .*\[8, 0\]"):
        mix([loader_of(8), Loader()], temperature=1)
    with pytest.raises(ValueError, match="number of batches is known once a dataset has been added"):
        iter(mix([loader_of(8), Loader()]))
    empty = loader_of(3, drop_last=True)
    for stop in ("first", "all", "never"):
        with pytest.raises(ValueError, match="`loaders` must have batches, got none in 1: Loader"):
            iter(mix([loader_of(8), empty], stop=stop))
        assert found_in(islice(mix([loader_of(8), empty], [1, 0], stop=stop), 2))
    with pytest.raises(ValueError, match="`epoch` must not be negative, got -1"):
        mix([loader_of(8)]).set_epoch(-1)


def test_states_of_other_mixes_are_refused():
    def make(sizes=(40, 80), weights=(1, 1), seed=0, **arguments):
        return mix([loader_of(n) for n in sizes], weights, seed=seed, **arguments)

    mixed = make()
    expected = found_in(mixed)
    mixed.set_epoch(0)
    batches = iter(mixed)
    found = found_in(islice(batches, 5))
    state = mixed.state_dict()
    for other, message in [
        (loader_of(40), "`state` must be what `state_dict` of a mix returned, got {'format': 'annbatch.Loader'"),
        (make(weights=(2, 1)), r"same mix as this loader: weights was \[2.0, 1.0\] and is \[1.0, 1.0\]"),
        (make(stop="all"), "stop was 'all' and is 'first'"),
        (make(seed=1), "seed was 1 and is 0"),
        (make((40, 80, 8), (1, 1, 1)), "n_loaders was 3 and is 2"),
        (make((40, 84)), "Loader 1 of the mix: `state` must be of the same rows as this loader: n_obs was 84"),
    ]:
        with pytest.raises(ValueError, match=message):
            mixed.load_state_dict(other.state_dict())
        assert mixed.state_dict() == state
    with pytest.raises(ValueError, match="format version 1, which this annbatch reads, got version 2"):
        mixed.load_state_dict(state | {"version": 2})
    for changes in ({"mix": None}, {"loaders": 2}):
        with pytest.raises(ValueError, match="`state` must be what `state_dict` of a mix returned, got"):
            mixed.load_state_dict(state | changes)
    for changes in ({"mix": {}}, {"loaders": []}, {"mix": state["mix"] | {"seed": -1}}):
        with pytest.raises(ValueError, match="`state` must be of the same mix as this loader"):
            mix(mixed.loaders, [1, 1]).load_state_dict(state | changes)
    with pytest.raises(ValueError, match="must have position, mix and loaders, got no loaders"):
        mixed.load_state_dict({name: state[name] for name in ("format", "version", "position", "mix")})
    assert found + found_in(batches) == expected


@pytest.mark.parametrize(
    "changes",
    [
        *({"steps": -1}, {"steps": "1"}, {"epoch": 0.5}, {"ranks": 0}, {"counts": [1]}, {"last": 2}, {"other": 1}),
        *({"steps": 19}, {"counts": [0, 9]}, {"counts": [9, 2**62]}),
    ],
)
def test_what_is_no_position_is_refused(changes):
    stored = {"epoch": 0, "begun": 0, "steps": 3, "ranks": 1, "workers": 1, "counts": [9, 9], "last": 0}
    stored |= {"epochs": [0, 0]}
    assert MixPosition.read(stored, 2).counts == (9, 9)
    for wrong in (stored | changes, None, [], {**stored, "epochs": []}):
        with pytest.raises(ValueError, match="`state` must have a position as `state_dict` writes it, got"):
            MixPosition.read(wrong, 2)


def test_pairs_mix_with_plain_batches():
    obs = pd.DataFrame({"drug": ["none", "x"] * 20}, index=map(str, range(40)))

    def make():
        sampler = PairedSampler("drug", control={"drug": "none"}, set_size=2, sets_per_batch=2, rng=0)
        pairs = Loader(batch_sampler=sampler, return_index=True, encoder=TopGenes(2)).add_dataset(np.eye(40), obs=obs)
        return mix([pairs, loader_of(33)], seed=0, stop="all")

    def facts(batches):
        return [(b["index"].tolist(), *[b[k]["index"].tolist() for k in ("control",) if k in b]) for b in batches]

    expected = facts(make())
    assert {len(one) for one in expected} == {1, 2}
    for steps in range(0, len(expected), 3):
        stopped, other = make(), make()
        _ = [*zip(range(steps), stopped, strict=False)]
        other.load_state_dict(stopped.state_dict())
        assert facts(other) == expected[steps:]
