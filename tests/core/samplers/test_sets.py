"""Sets are rows of one group, whichever way groups are drawn; they resume anywhere, and ranks share them."""

from __future__ import annotations

from copy import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from annbatch import Loader
from annbatch.samplers import DistributedSampler, SetSampler, split
from annbatch.testing import SamplerTests

from .conftest import assert_drawn_by, batches, flat

N_OBS = 203
RNG = np.random.default_rng(0)
CODES = RNG.choice(4, N_OBS, p=[0.5, 0.3, 0.18, 0.02])
SHUFFLED = pd.Categorical.from_codes(CODES, ["a", "b", "c", "rare"])
GROUPED = pd.Categorical.from_codes(np.sort(CODES), ["a", "b", "c", "rare"])
COUNTS = np.bincount(CODES)


def requests(sampler, n_obs=N_OBS, epoch=0, **where):
    sampler.set_epoch(epoch)
    return list(sampler.sample(n_obs, **where))


def sets(sampler, codes, epoch=0):
    """Return the rows of each set of an epoch, and check that all are of the group that the batch names."""
    found = []
    for request in requests(sampler, len(codes), epoch):
        for number, batch in enumerate(request["splits"]):
            groups = request["extras"]["group"][number]
            rows = request["requests"][batch].reshape(len(groups), -1)
            assert (codes[rows] == groups[:, None]).all()
            found += rows.tolist()
    return found


def divisors(number):
    return [size for size in range(1, number + 1) if number % size == 0]


class TestSets(SamplerTests):
    n_obs = (N_OBS,)
    refused_n_obs = (1, N_OBS + 1)
    every_row_once = False
    epochs_differ = True

    def make_sampler(self):
        return SetSampler(SHUFFLED, set_size=4, sets_per_batch=3, preload_nbatches=2, rng=0)


class TestChunksOfSets(TestSets):
    def make_sampler(self):
        settings = {"set_size": 8, "chunk_size": 4, "sets_per_batch": 2, "preload_nbatches": 3}
        return SetSampler(GROUPED, group_weights="uniform", n_sets=31, rng=0, **settings)


class TestSetsOfAMask(TestSets):
    def make_sampler(self):
        return SetSampler(SHUFFLED, set_size=4, sets_per_batch=3, replacement=True, mask=slice(10, 150), rng=0)


class TestBags(TestSets):
    epochs_differ = False  # two of 24 orders may be equal

    def make_sampler(self):
        return SetSampler(SHUFFLED, set_size=None, sets_per_batch=3, rng=0)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sampled_from([None, *divisors(n)]))),
    st.integers(1, 4),
    st.integers(0, 3),
)
@example([0] * 5 + [1] * 9, (4, 2), 2, 0)
@example([0] * 23 + [1] * 25, (12, 4), 2, 1)
def test_without_replacement_every_row_comes(codes, sizes, sets_per_batch, epoch):
    codes, (set_size, chunk_size) = np.array(codes), sizes
    groups = pd.Categorical.from_codes(codes, list("abcde"))
    settings = {"set_size": set_size, "sets_per_batch": sets_per_batch, "chunk_size": chunk_size, "rng": 3}
    there = np.unique(codes)
    codes = np.searchsorted(there, codes)  # groups are those that exist
    counts = np.bincount(codes)
    padded = sets(SetSampler(groups, **settings), codes, epoch)
    assert len(padded) == (-(-counts // set_size)).sum()
    assert {row for one in padded for row in one} == set(range(len(codes)))
    for one in padded:  # of a large group, no row twice in a set
        assert len(set(one)) == min(set_size, counts[codes[one[0]]])
    if not (counts // set_size).any():
        with pytest.raises(ValueError, match=f"a group of at least {set_size} rows in the mask, got none of"):
            SetSampler(groups, small="drop", **settings)
        return
    dropped = flat(sets(SetSampler(groups, small="drop", **settings), codes, epoch))
    assert len(dropped) == (counts // set_size).sum() * set_size
    assert len(set(dropped)) == len(dropped)


def test_a_row_comes_again_only_when_all_of_its_group_have_come():
    sampler = SetSampler(SHUFFLED, set_size=4, sets_per_batch=5, group_weights="uniform", n_sets=400, rng=0)
    of_group = {group: [] for group in range(4)}
    for one in sets(sampler, CODES):
        of_group[CODES[one[0]]].append(one)
    for group, found in of_group.items():
        per_pass = -(-COUNTS[group] // 4)
        for start in range(0, len(found) - per_pass + 1, per_pass):
            assert set(flat(found[start : start + per_pass])) == set(np.flatnonzero(group == CODES))
        if per_pass > 1:
            assert sorted(found[:per_pass]) != sorted(found[per_pass : 2 * per_pass])  # another order each time


@pytest.mark.parametrize("weights", ["uniform", [1, 5, 0, 2], {"a": 1, "b": 5, "c": 0, "rare": 2}, None])
@pytest.mark.parametrize("replacement", [False, True])
def test_groups_come_by_their_weights(weights, replacement):
    if weights is None and not replacement:
        return  # exactly as often as rows fill sets; above
    sampler = SetSampler(
        SHUFFLED,
        set_size=2,
        group_weights=weights,
        n_sets=20_000,
        replacement=replacement,
        rng=np.random.default_rng(1),
    )
    found = np.array(sets(sampler, CODES))
    share = {"uniform": np.ones(4)}.get(weights) if isinstance(weights, str) else weights
    share = COUNTS if share is None else np.array([*share.values()] if isinstance(share, dict) else share)
    assert_drawn_by(np.bincount(CODES[found[:, 0]], minlength=4), share / share.sum())
    if replacement:
        rows = np.bincount(found[:, 1], minlength=N_OBS)
        assert_drawn_by(rows, (share / share.sum() / COUNTS)[CODES])


def test_sets_of_a_grouped_store_are_runs_of_rows():
    sampler = SetSampler(GROUPED, set_size=4, small="drop", rng=0)
    for one in sets(sampler, np.sort(CODES)):
        around = np.flatnonzero(np.diff(one) != 1)
        assert len(around) <= 1  # from the last row of a group on to its first
    assert sampler.identity()["chunk_size"] == 4
    assert SetSampler(SHUFFLED, set_size=4).identity()["chunk_size"] == 1


def test_bags_are_all_rows_of_a_group():
    sampler = SetSampler(SHUFFLED, set_size=None, sets_per_batch=3, mask=slice(0, 200), rng=0)
    seen = []
    for request in requests(sampler):
        for batch, groups, edges in zip(
            request["splits"], request["extras"]["group"], request["extras"]["sets"], strict=True
        ):
            assert (edges[0], edges[-1], len(edges)) == (0, len(batch), len(groups) + 1)
            rows = request["requests"][batch]
            for group, a, b in zip(groups, edges[:-1], edges[1:], strict=True):
                assert rows[a:b].tolist() == np.flatnonzero(CODES[:200] == group).tolist()
                seen.append(group)
    assert sorted(seen) == [0, 1, 2, 3]
    assert sampler.batch_size is None


def test_the_groups_of_a_loader(tmp_path):
    obs = pd.DataFrame({"kind": SHUFFLED, "dose": CODES % 2}, index=[f"{row}" for row in range(N_OBS)])
    rows = np.arange(N_OBS, dtype="f4")[:, None]
    sampler = SetSampler(["kind", "dose"], set_size=4, sets_per_batch=3, rng=0)
    assert repr(sampler) == "SetSampler(3 sets per batch of 4 rows of a group)"
    with pytest.raises(ValueError, match=r"`groups` \['kind', 'dose'\] must be columns of a loader's obs, got no"):
        _ = sampler.groups
    loader = Loader(batch_sampler=sampler, keys=["X"], return_index=True)
    loader.add_dataset(rows[:100], obs=obs[:100])
    loader.add_dataset(rows[100:], obs=obs[100:])
    given = SetSampler(obs[["kind", "dose"]], set_size=4, sets_per_batch=3, rng=0)
    assert loader.groups.equals(given.groups)
    assert list(loader.groups) == ["kind", "dose"]
    expected = [rows for request in requests(given) for rows in (request["requests"][s] for s in request["splits"])]
    found = list(loader)
    assert len(loader) == len(found) == len(expected)
    for batch, rows in zip(found, expected, strict=True):
        assert batch["index"].tolist() == rows.tolist()
        assert batch["obs"] is None
        assert (loader.groups["kind"].iloc[batch["group"]] == obs["kind"].to_numpy()[rows[::4]]).all()
    assert "SetSampler" in repr(loader)
    assert "sets per batch" in loader._repr_html_()


def test_groups_follow_the_data_of_each_loader():
    sampler = SetSampler("kind", set_size=1, sets_per_batch=2, rng=0)
    loaders = []
    for names in (["a", "b"], ["c", "d", "e"]):
        obs = pd.DataFrame({"kind": names}, index=[*names])
        loaders.append(Loader(batch_sampler=sampler).add_dataset(np.zeros((len(names), 1)), obs=obs))
    assert [loader.groups["kind"].tolist() for loader in loaders * 2] == [["a", "b"], ["c", "d", "e"]] * 2
    loaders[0].add_dataset(np.zeros((1, 1)), obs=pd.DataFrame({"kind": ["x"]}, index=["x"]))
    assert loaders[0].groups["kind"].tolist() == ["a", "b", "x"]


def test_a_loader_resumes_at_every_batch():
    obs = pd.DataFrame({"kind": SHUFFLED}, index=[f"{row}" for row in range(N_OBS)])

    def make():
        sampler = SetSampler("kind", set_size=4, sets_per_batch=3, preload_nbatches=2, rng=0)
        return Loader(batch_sampler=sampler, return_index=True).add_dataset(np.zeros((N_OBS, 1)), obs=obs)

    expected = [(b["index"].tolist(), b["group"].tolist()) for b in make()]
    for steps in range(len(expected)):
        loader = make()
        read = iter(loader)
        for _ in range(steps):
            next(read)
        other = make()
        other.load_state_dict(loader.state_dict())
        assert [(b["index"].tolist(), b["group"].tolist()) for b in other] == expected[steps:]
    different = Loader(batch_sampler=SetSampler("kind", set_size=2, rng=0)).add_dataset(np.zeros((N_OBS, 1)), obs=obs)
    with pytest.raises(ValueError, match="set_size"):
        different.load_state_dict(make().state_dict())


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("remainder", ["drop", "wrap", "pad"])
def test_ranks_share_an_epoch(n_ranks, remainder):
    def make(rank=0, n=1):
        sampler = SetSampler(SHUFFLED, set_size=4, sets_per_batch=2, preload_nbatches=3, rng=0)
        return DistributedSampler(sampler, dist_info=lambda: (rank, n), remainder=remainder)

    whole = flat(batches(make(), N_OBS, epoch=1))
    of_ranks = [batches(make(rank, n_ranks), N_OBS, epoch=1) for rank in range(n_ranks)]
    rows = [row for share in of_ranks for row in flat(share)]
    assert len({len(share) for share in of_ranks}) == 1
    assert all(len(batch) == 8 for share in of_ranks for batch in share)
    if remainder == "drop":
        assert rows == whole[: len(whole) // (8 * n_ranks) * 8 * n_ranks] or rows == whole[-len(rows) :]
    else:
        assert set(rows) == set(whole)
    for share in of_ranks:
        for batch in share:
            assert (CODES[np.reshape(batch, (-1, 4))] == CODES[batch[::4]][:, None]).all()


def test_what_lacks_is_told():
    text, rest = "SetSampler(16 sets per batch of 16 rows of a group; 4 groups, ", "where they do not fill sets)"
    n_repeated, n_left_out = (-COUNTS % 16).sum(), (COUNTS % 16).sum()
    few = "1 of fewer than 16 rows; "
    assert repr(SetSampler(SHUFFLED, set_size=16)) == f"{text}{few}{n_repeated} rows repeated {rest}"
    assert repr(SetSampler(SHUFFLED, set_size=16, small="drop")) == f"{text}{few}{n_left_out} rows left out {rest}"
    assert repr(SetSampler(SHUFFLED, set_size=1)) == "SetSampler(16 sets per batch of 1 rows of a group; 4 groups)"
    assert repr(SetSampler(SHUFFLED, set_size=None)).endswith("of all rows of a group; 4 groups)")


def test_parts_of_a_split_are_masks():
    obs = pd.DataFrame({"kind": SHUFFLED})
    parts = split(obs, {"train": 0.7, "val": 0.3}, seed=0)
    for rows in parts.values():
        sampler = SetSampler(SHUFFLED, set_size=2, mask=rows, rng=0)
        assert set(flat(sets(sampler, CODES))) == set(np.asarray(rows))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"set_size": 0}, "`set_size` must be positive, got 0"),
        ({"sets_per_batch": 0}, "`sets_per_batch` must be positive, got 0"),
        ({"set_size": 6, "chunk_size": 4}, "`chunk_size` must divide set_size 6, got 4"),
        ({"small": "keep"}, "`small` must be 'pad' or 'drop', got 'keep'"),
        ({"n_sets": 5}, "`n_sets` must be left out where neither"),
        ({"set_size": None, "replacement": True}, "`replacement` must be False where set_size is None"),
        ({"group_weights": [0, 0, 0, 0]}, "`group_weights` must have at least one positive weight"),
        ({"mask": slice(0, N_OBS + 5)}, "`mask.stop` must be at most the loader's n_obs 203, got 208"),
        ({"preload_nbatches": 0}, "`preload_nbatches` must be positive, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        SetSampler(SHUFFLED, **arguments)


def test_columns_that_are_not_there_are_named():
    obs = pd.DataFrame({"kind": SHUFFLED}, index=[f"{row}" for row in range(N_OBS)])
    with pytest.raises(KeyError, match=r"'kin'.*did you mean 'kind'"):
        iter(Loader(batch_sampler=SetSampler("kin")).add_dataset(np.zeros((N_OBS, 1)), obs=obs))
    with pytest.raises(KeyError, match=r"`groups` must be columns of obs, .*, got \['kind'\]. There are none"):
        iter(Loader(batch_sampler=SetSampler("kind")).add_dataset(np.zeros((N_OBS, 1))))
    with pytest.raises(AttributeError, match="`groups` are known of a loader whose sampler draws sets"):
        _ = Loader().groups


def test_a_mask_that_is_replaced_counts_for_the_next_pass():
    obs = pd.DataFrame({"kind": SHUFFLED}, index=[f"{row}" for row in range(N_OBS)])
    sampler = SetSampler("kind", set_size=1, sets_per_batch=4, rng=0)
    loader = Loader(batch_sampler=sampler, return_index=True).add_dataset(np.zeros((N_OBS, 1)), obs=obs)

    def rows(loader):
        return {row for batch in loader for row in batch["index"].tolist()}

    assert rows(loader) == set(range(N_OBS))
    sampler.mask = slice(0, 50)
    assert rows(loader) == rows(copy(loader)) == set(range(50))
    loader.batch_sampler.mask = slice(50, 60)
    assert rows(loader) == rows(copy(loader)) == set(range(50, 60))


def test_copies_of_a_loader_without_a_seed_agree():
    obs = pd.DataFrame({"kind": SHUFFLED}, index=[f"{row}" for row in range(N_OBS)])
    loader = Loader(batch_sampler=SetSampler("kind", set_size=2), return_index=True)
    loader.add_dataset(np.zeros((N_OBS, 1)), obs=obs)
    other = copy(loader)
    for one, two in zip(loader, other, strict=True):
        assert one["index"].tolist() == two["index"].tolist()
    _, state = list(loader), loader.state_dict()
    other.load_state_dict(state)
    assert [b["index"].tolist() for b in loader] == [b["index"].tolist() for b in other]


def test_columns_that_some_datasets_lack_are_missing_values():
    parts = [pd.DataFrame({"kind": ["a", "b"]}), pd.DataFrame({"other": [1, 2]}), pd.DataFrame({"kind": ["c", "a"]})]
    loader = Loader(batch_sampler=SetSampler("kind", set_size=1, rng=0), obs_join="outer", return_index=True)
    for number, obs in enumerate(parts):
        obs.index = [f"{number} {row}" for row in obs.index]
        loader.add_dataset(np.zeros((2, 1)), obs=obs)
    assert loader.groups["kind"].tolist() == ["a", "b", "c"]
    assert sorted(row for batch in loader for row in batch["index"].tolist()) == [0, 1, 4, 5]
