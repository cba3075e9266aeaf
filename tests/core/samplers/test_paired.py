"""Every partner matches its target, as well as the pool allows, and comes in the same window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader
from annbatch.samplers import DistributedSampler, PairedSampler, RowSet
from annbatch.testing import SamplerTests

from .conftest import assert_drawn_by

N_OBS = 240
RNG = np.random.default_rng(1)
OBS = pd.DataFrame(
    {
        "line": RNG.choice(["A", "B", "C"], N_OBS),
        "batch": RNG.choice([1, 2], N_OBS),
        "drug": RNG.choice(["DMSO", "x", "y"], N_OBS, p=[0.5, 0.3, 0.2]),
    },
    index=[f"cell {row}" for row in range(N_OBS)],
)
CONTROL = (OBS["drug"] == "DMSO").to_numpy()
SETTINGS = {"control": {"drug": "DMSO"}, "set_size": 4, "sets_per_batch": 3, "preload_nbatches": 2, "rng": 0}


def pairs(sampler, n_obs=N_OBS, name="control", epoch=0):
    """Return targets and partners of each batch of an epoch."""
    sampler.set_epoch(epoch)
    for request in sampler.sample(n_obs):
        rows = request["requests"]
        for batch, partners in zip(request["splits"], request["partners"][name], strict=True):
            yield rows[batch], rows[partners]


class TestPairs(SamplerTests):
    n_obs = (N_OBS,)
    refused_n_obs = (1, N_OBS + 1)
    every_row_once = False
    epochs_differ = True

    def make_sampler(self):
        return PairedSampler(OBS, match_on=["line", "batch"], **SETTINGS)


class TestPairsOfGroupsByWeight(TestPairs):
    def make_sampler(self):
        return PairedSampler(OBS, match_on="line", group_weights="uniform", n_sets=25, control_size=6, **SETTINGS)


@given(st.data())
def test_every_partner_matches_its_target(data):
    n_obs = data.draw(st.integers(1, 40))
    column = st.lists(st.integers(0, 2), min_size=n_obs, max_size=n_obs)
    obs = pd.DataFrame({name: data.draw(column) for name in ("line", "batch", "drug")})
    match_on = data.draw(st.sampled_from([[], ["line"], ["line", "batch"]]))
    fallback = data.draw(st.booleans()) and bool(match_on)
    replacement, control_size = data.draw(st.booleans()), data.draw(st.sampled_from([None, 1, 5]))
    set_size = data.draw(st.sampled_from([1, 3, None])) if not replacement else 2
    is_control = (obs["drug"] == 0).to_numpy()
    levels = [match_on[:n] for n in range(len(match_on), 0 if fallback else len(match_on) - 1, -1)] or [[]]
    keys = [[tuple(row) for row in obs[level].to_numpy().tolist()] for level in levels]
    pools = [{key for key, control in zip(of_level, is_control, strict=True) if control} for of_level in keys]
    matched = [row for row in np.flatnonzero(~is_control) if any(k[row] in p for k, p in zip(keys, pools, strict=True))]

    def make(unmatched):
        return PairedSampler(
            obs[["line", "batch", "drug"]], control={"drug": 0}, match_on=match_on, fallback=fallback, rng=0,
            unmatched=unmatched, set_size=set_size, sets_per_batch=2, control_size=control_size,
            replacement=replacement,
        )  # fmt: skip

    if not is_control.any() or not matched:
        with pytest.raises(ValueError, match=r"must have (values of column|rows within `mask` that have match)"):
            make("drop")
        return
    if len(matched) < (~is_control).sum():
        with pytest.raises(ValueError, match="`control` must have a row that matches each target in"):
            make("error")
    sampler, seen = make("drop"), set()
    for request in sampler.sample(n_obs):
        rows = request["requests"]
        for number, (batch, partners) in enumerate(zip(request["splits"], request["partners"]["control"], strict=True)):
            groups = request["extras"]["group"][number]
            sizes = np.diff(request["extras"]["sets"][number]) if set_size is None else np.full(len(groups), set_size)
            of_partners = sizes if control_size is None else np.full(len(groups), control_size)
            assert len(batch) == sizes.sum()
            assert len(partners) == of_partners.sum()
            first = np.cumsum(sizes) - sizes
            for set_number, start in enumerate(np.cumsum(of_partners) - of_partners):
                drawn = {}
                for j in range(of_partners[set_number]):
                    target = rows[batch[first[set_number] + j % sizes[set_number]]]
                    partner = rows[partners[start + j]]
                    assert not is_control[target]
                    assert is_control[partner]
                    level = next(k for k, pool in zip(keys, pools, strict=True) if k[target] in pool)
                    assert level[partner] == level[target]
                    drawn.setdefault((id(level), level[target]), []).append(partner)
                for (_, key), found in drawn.items():
                    if not replacement:
                        pool = next(k for k in keys if id(k) == _)
                        n_pool = sum(1 for row in np.flatnonzero(is_control) if pool[row] == key)
                        assert len(set(found)) == min(len(found), n_pool)
            seen |= set(rows[batch].tolist())
    if not replacement:
        assert seen == set(matched)


@pytest.mark.parametrize("replacement", [False, True])
def test_partners_are_alike(replacement):
    sampler = PairedSampler(
        OBS, control={"drug": "DMSO"}, match_on=["line"], set_size=5, n_sets=4_000, group_weights="uniform", rng=0,
        replacement=replacement, sets_per_batch=100,
    )  # fmt: skip
    found = np.zeros(N_OBS, int)
    for targets, partners in pairs(sampler):
        of_a = (OBS["line"].to_numpy()[targets] == "A").reshape(-1, 5)[:, 0]
        found += np.bincount(partners.reshape(-1, 5)[of_a][:, 0], minlength=N_OBS)  # independent: one of each set
    pool = CONTROL & (OBS["line"] == "A").to_numpy()
    assert_drawn_by(found, pool / pool.sum())


def test_partners_of_a_grouped_store_are_runs_of_rows():
    obs = OBS.sort_values(["line", "drug"])
    line, control = obs["line"].to_numpy(), (obs["drug"] == "DMSO").to_numpy()
    for targets, partners in pairs(PairedSampler(obs[["line", "drug"]], match_on="line", **SETTINGS)):
        assert control[partners].all()
        assert (line[partners] == line[targets]).all()
        for one in partners.reshape(-1, 4):
            assert (np.diff(one) != 1).sum() <= 1  # from the last row of the match on to its first


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
def test_a_loader_yields_partners_and_resumes(stored):
    values = np.arange(N_OBS * 2, dtype="f4").reshape(N_OBS, 2) + 1

    def make():
        sampler = PairedSampler(["line", "drug"], match_on=["line", "batch"], **SETTINGS)
        loader = Loader(batch_sampler=sampler, return_index=True, obs_columns=["line"], densify=True)
        return loader.add_dataset(stored(values[:99]), obs=OBS[:99]).add_dataset(stored(values[99:]), obs=OBS[99:])

    def facts(batch):
        for part in (batch, batch["control"]):
            assert part["X"].tolist() == values[part["index"]].tolist()
            assert part["obs"]["line"].tolist() == OBS["line"].to_numpy()[part["index"]].tolist()
        target, partner = OBS.iloc[batch["index"]], OBS.iloc[batch["control"]["index"]]
        assert (target[["line", "batch"]].to_numpy() == partner[["line", "batch"]].to_numpy()).all()
        assert (partner["drug"] == "DMSO").all()
        assert (target["drug"] != "DMSO").all()
        return batch["index"].tolist(), batch["control"]["index"].tolist(), batch["group"].tolist()

    expected = [facts(batch) for batch in make()]
    for steps in range(0, len(expected), 3):
        loader = make()
        read = iter(loader)
        for _ in range(steps):
            next(read)
        other = make()
        other.load_state_dict(loader.state_dict())
        assert [facts(batch) for batch in other] == expected[steps:]
    different = Loader(batch_sampler=PairedSampler(["line", "drug"], match_on=["line"], **SETTINGS))
    state = make().state_dict()
    with pytest.raises(ValueError, match="partners"):
        different.add_dataset(values[:99], obs=OBS[:99]).add_dataset(values[99:], obs=OBS[99:]).load_state_dict(state)


@pytest.mark.parametrize("remainder", ["wrap", "pad"])
def test_ranks_fill_up_with_pairs(remainder):
    line = OBS["line"].to_numpy()
    for rank in range(3):
        sampler = PairedSampler(OBS, match_on="line", **SETTINGS)
        of_rank = DistributedSampler(sampler, dist_info=lambda rank=rank: (rank, 3), remainder=remainder)
        for targets, partners in pairs(of_rank):
            assert len(targets) == len(partners) == 12
            assert (line[targets] == line[partners]).all()


def test_several_partners_by_name():
    days = pd.DataFrame({"donor": np.arange(60) % 4, "day": np.arange(60) // 20})
    sampler = PairedSampler(
        days,
        targets={"day": 0},
        partners={"day_1": {"day": [1]}, "day_2": {"day": 2}},
        match_on="donor",
        set_size=5,
        rng=0,
    )
    for request in sampler.sample(60):
        rows = request["requests"]
        for number, batch in enumerate(request["splits"]):
            parts = [batch, request["partners"]["day_1"][number], request["partners"]["day_2"][number]]
            assert [set(days["day"].to_numpy()[rows[part]]) for part in parts] == [{0}, {1}, {2}]
            donors = [days["donor"].to_numpy()[rows[part]].tolist() for part in parts]
            assert donors[0] == donors[1] == donors[2]


def test_a_pool_of_its_own_may_lie_outside_the_mask():
    mask = RowSet(np.arange(100, N_OBS))
    within = PairedSampler(OBS, match_on="line", mask=mask, **SETTINGS)
    assert all((partners >= 100).all() for _, partners in pairs(within))
    own = PairedSampler(OBS, match_on="line", mask=mask, **SETTINGS | {"control": CONTROL & (np.arange(N_OBS) < 100)})
    for targets, partners in pairs(own):
        assert (targets >= 100).all()
        assert (partners < 100).all()
    with pytest.raises(ValueError, match="`control` must describe rows within `mask`, got none with"):
        PairedSampler(OBS, mask=RowSet(np.flatnonzero(~CONTROL)), **SETTINGS)


def test_what_falls_back_and_what_has_no_match_is_told():
    obs = pd.DataFrame({"line": list("AABBC"), "batch": [1, 2, 1, 1, 1], "drug": [0, 1, 0, 1, 1]})
    settings = {"control": {"drug": 0}, "set_size": 1, "match_on": ["line", "batch"], "sets_per_batch": 1}
    text = (
        r"`control` must have a row that matches each target in \['line', 'batch'\], got none for 2 rows, such as row 1"
    )
    with pytest.raises(ValueError, match=text + r" \(line 'A', batch 2\)"):
        PairedSampler(obs, **settings)
    told = repr(PairedSampler(obs, unmatched="drop", fallback=True, **settings))
    assert told.endswith("2 groups, 1 rows match control in fewer columns, 1 rows without a match left out)")
    levels = PairedSampler(obs, **settings | {"match_on": [["line", "batch"], ["line"], []]})
    found = {int(t): int(p) for targets, partners in pairs(levels, 5) for t, p in zip(targets, partners, strict=True)}
    assert found[1] == 0
    assert found[3] == 2
    assert found[4] in (0, 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"control": None}, "`control` or `partners` must be given"),
        ({"partners": {"control": [1]}}, "`control` must be left out where `partners` has 'control'"),
        (
            {"partners": {"group": [1]}},
            "`partners` must have names, other than those of what batches hold, got 'group'",
        ),
        ({"control": {"drug": "DMS0"}}, r"`control` must have values of column 'drug', got \['DMS0'\]; it has"),
        ({"control": {}}, "`control` must name at least one column, got none"),
        ({"control": [N_OBS]}, "`control` must name rows of the loader's 0..240, got 240"),
        ({"targets": {"drug": "x"}, "mask": CONTROL}, "`targets` must have rows within `mask` that have matches"),
        (
            {"match_on": [["line"], "batch"]},
            "`match_on` must be names of columns, or, without `fallback`, lists of them",
        ),
        ({"match_on": 3}, "`match_on` must be names of columns, .*, got 3"),
        ({"match_on": [["line"], [3]]}, "`match_on` must be names of columns, .*, got"),
        ({"control_size": 0}, "`control_size` must be positive, got 0"),
        ({"unmatched": "keep"}, "`unmatched` must be 'error' or 'drop', got 'keep'"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        PairedSampler(OBS, **SETTINGS | arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"control": "DMSO"}, r"`control` must be values of columns, as {'drug': 'DMSO'}, or .*, got 'DMSO'"),
        ({"partners": {"day": None}}, r"`day` must be values of columns, .*, got None"),
        ({"targets": "x"}, r"`targets` must be values of columns, .*, got 'x'"),
    ],
)
def test_a_value_without_its_column_is_refused(arguments, text):
    with pytest.raises(TypeError, match=text):
        PairedSampler(["line", "drug"], **SETTINGS | arguments)


def test_chunks_of_partners_do_not_repeat_while_others_are_left():
    obs = pd.DataFrame({"kind": ["t"] * 64 + ["c"] * 7})
    sampler = PairedSampler(
        obs, control={"kind": "c"}, set_size=8, chunk_size=4, control_size=6, sets_per_batch=1, rng=0
    )
    for _, partners in pairs(sampler, 71):
        assert len(set(partners)) == 6


def test_rows_without_a_group_need_no_match():
    obs = pd.DataFrame({"drug": ["x", "x", None, "DMSO"], "line": ["A", "A", "B", "A"]})
    sampler = PairedSampler(obs, control={"drug": "DMSO"}, match_on="line", set_size=1, rng=0)
    assert sorted(row for targets, _ in pairs(sampler, 4) for row in targets.tolist()) == [0, 1]


def test_the_identity_follows_what_is_sampled_from():
    parts = {
        name: RowSet(np.flatnonzero(rows))
        for name, rows in {"all": [True] * N_OBS, "half": RNG.random(N_OBS) < 0.5}.items()
    }
    made = {name: PairedSampler(OBS, match_on="line", mask=rows, **SETTINGS) for name, rows in parts.items()}
    identity = {name: sampler.identity() for name, sampler in made.items()}
    assert identity["all"]["partners"] != identity["half"]["partners"]
    assert identity["all"]["groups"] == identity["half"]["groups"]
    made["all"].mask = parts["half"]
    assert made["all"].identity() == identity["half"] == made["half"].identity()
    sampler = PairedSampler(["line", "drug"], match_on="line", **SETTINGS)
    states = []
    for changed in (
        OBS,
        OBS.assign(line=OBS["line"].to_numpy()[::-1]),
        OBS.assign(drug=np.where(CONTROL, "DMSO", "x")),
    ):
        loader = Loader(batch_sampler=sampler).add_dataset(np.zeros((N_OBS, 1)), obs=changed)
        states.append(loader.state_dict()["sampler"])
    differ = [{name for name in states[0] if one[name] != states[0][name]} for one in states]
    assert differ[0] == set()
    assert differ[1] >= {"groups", "partners"}
    assert "groups" in differ[2]
    assert "partners" not in differ[2]


@pytest.mark.parametrize("sizes", [{"set_size": 4}, {"set_size": None, "control_size": 3}], ids=["sets", "bags"])
def test_other_ranks_go_on_with_the_same_pairs(sizes):
    obs = OBS.assign(donor=np.arange(N_OBS) % 23)

    def of_rank(rank, n_ranks):
        groups = "donor" if sizes["set_size"] is None else ["line", "drug"]
        sampler = PairedSampler(groups, match_on="line", **SETTINGS | {"sets_per_batch": 2} | sizes)
        sampler = DistributedSampler(sampler, dist_info=lambda: (rank, n_ranks), remainder="wrap")
        return Loader(batch_sampler=sampler, return_index=True, keys=["X"]).add_dataset(np.zeros((N_OBS, 1)), obs=obs)

    def facts(batch):
        return tuple(tuple(part["index"].tolist()) for part in (batch, batch["control"])), tuple(
            batch["group"].tolist()
        )

    whole = [facts(batch) for batch in of_rank(0, 1)]
    stopped = [of_rank(rank, 2) for rank in range(2)]
    seen = [facts(next(iter(loader))) for loader in stopped]
    for rank in range(3):
        loader = of_rank(rank, 3)
        loader.load_state_dict(stopped[0].state_dict())
        seen += map(facts, loader)
    assert set(whole[:-1]) <= set(seen)
    assert len(seen) - len(whole) < 3
