"""Splits: disjoint, of the sizes asked for, by whole donors, and the same after saving and converting."""

from __future__ import annotations

import base64
import json
import tracemalloc
import zlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError
from annbatch.samplers import DistributedSampler, RandomSampler, Split, split

THIRDS = {"train": 0.7, "valid": 0.2, "test": 0.1}


def rows_of(parts: Split) -> dict[str, np.ndarray]:
    return {name: np.asarray(rows) for name, rows in parts.items()}


@given(n_obs=st.integers(30, 2_000), chunk_size=st.integers(1, 3), seed=st.integers(0, 99))
def test_parts_are_disjoint_and_of_the_sizes_asked_for(n_obs, chunk_size, seed):
    parts = split(n_obs, THIRDS, seed=seed, chunk_size=chunk_size)
    rows = rows_of(parts)
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(n_obs))
    for name, fraction in THIRDS.items():
        assert abs(len(rows[name]) - fraction * n_obs) < 2 * chunk_size
    assert parts.n_obs == n_obs


def test_neighbours_stay_together():
    parts = split(10_000, [0.9, 0.1], chunk_size=50)
    assert list(parts) == ["train", "test"]
    for rows in rows_of(parts).values():
        assert len(np.unique(rows // 50)) == len(rows) / 50


@given(st.integers(0, 99))
def test_labels_have_their_shares_in_every_part(seed):
    labels = np.random.default_rng(seed).choice(["a", "b", "c"], 500, p=[0.8, 0.17, 0.03])
    rows = rows_of(split(pd.DataFrame({"label": labels}), THIRDS, stratify="label", seed=seed))
    for name, fraction in THIRDS.items():
        for label in "abc":
            assert abs((labels[rows[name]] == label).sum() - fraction * (labels == label).sum()) <= 1


@settings(max_examples=40)
@given(n_groups=st.integers(3, 40), seed=st.integers(0, 99), stratified=st.booleans())
def test_a_group_is_in_one_part(n_groups, seed, stratified):
    rng = np.random.default_rng(seed)
    groups = np.append(np.arange(n_groups), rng.integers(0, n_groups, 600))
    obs = pd.DataFrame({"donor": groups, "label": rng.choice(["a", "b"], len(groups))})
    parts = split(obs, THIRDS, groupby="donor", stratify="label" if stratified else None, seed=seed)
    rows = rows_of(parts)
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(obs)))
    donors = {name: set(groups[part].tolist()) for name, part in rows.items()}
    assert sum(map(len, donors.values())) == n_groups
    assert all(donors.values())
    if n_groups > 20:
        largest = np.bincount(groups).max()
        for name, fraction in THIRDS.items():
            assert abs(len(rows[name]) - fraction * len(obs)) <= 2 * largest


def test_labels_are_balanced_over_groups():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 6_000)
    labels = np.where(rng.random(6_000) < np.where(groups % 3 == 0, 0.9, 0.1), "sick", "well")
    parts = split(pd.DataFrame({"donor": groups, "label": labels}), THIRDS, groupby="donor", stratify="label")
    shares = [(labels[rows] == "sick").mean() for rows in rows_of(parts).values()]
    assert np.ptp(shares) < 0.06


def test_rows_may_be_in_no_part():
    obs = pd.DataFrame({"donor": np.repeat(np.arange(20), 10)})
    for parts in (split(1_000, {"train": 0.5}, chunk_size=10), split(obs, {"train": 0.5}, groupby="donor")):
        assert len(parts["train"]) == parts.n_obs // 2
    assert [parts.groups[donor] for donor in range(20)].count(None) == 10


def test_seeds_differ_and_repeat():
    one, other, again = (split(500, THIRDS, seed=seed, chunk_size=1)["train"].digest() for seed in (0, 1, 0))
    assert one == again != other


def test_a_collection_is_split_by_its_annotations(tmp_path):
    obs = pd.DataFrame({"donor": [f"donor{i % 9}" for i in range(300)]}, index=[f"cell{i}" for i in range(300)])
    ad.AnnData(np.eye(300), obs=obs).write_h5ad(tmp_path / "a.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([tmp_path / "a.h5ad"], seed=0, progress=False)
    by_donor = split(collection, THIRDS, groupby="donor")
    of_obs = split(collection.obs(["donor"]), THIRDS, groupby="donor")
    assert {name: list(rows) for name, rows in by_donor.items()} == {name: list(rows) for name, rows in of_obs.items()}
    assert list(split(collection, THIRDS, chunk_size=1)["valid"]) == list(split(300, THIRDS, chunk_size=1)["valid"])


def test_a_file_holds_a_split(tmp_path):
    obs = pd.DataFrame({"donor": [f"donor{i % 17}" for i in range(5_000)]})
    for parts in (split(obs, THIRDS, groupby="donor"), split(1_000_000, THIRDS), split(100_000, THIRDS, chunk_size=1)):
        parts.save(tmp_path / "split.json")
        assert (tmp_path / "split.json").stat().st_size < 30_000
        loaded = Split.load(tmp_path / "split.json")
        assert repr(loaded) == repr(parts)
        assert (loaded.groupby, loaded.groups, list(loaded)) == (parts.groupby, parts.groups, list(parts))
        assert [rows.digest() for rows in loaded.values()] == [rows.digest() for rows in parts.values()]


def test_donors_stay_apart_through_conversion_saving_and_ranks(tmp_path):
    rng = np.random.default_rng(0)
    donors = rng.choice([f"donor{i}" for i in range(12)], 900)
    obs = pd.DataFrame({"donor": pd.Categorical(donors)}, index=[f"cell{i}" for i in range(900)])
    cells = ad.AnnData(rng.poisson(1, (900, 5)).astype("f4"), obs=obs)
    cells.write_h5ad(tmp_path / "cells.h5ad")
    before = split(cells.obs, {"train": 0.7, "test": 0.3}, groupby="donor", seed=3)
    before.save(tmp_path / "split.json")

    collection = DatasetCollection(tmp_path / "cells.zarr").add_adatas([tmp_path / "cells.h5ad"], progress=False)
    parts = Split.load(tmp_path / "split.json").of(collection.obs(["donor"]))
    assert {name: len(rows) for name, rows in parts.items()} == {name: len(rows) for name, rows in before.items()}

    seen = {}
    for name, rows in parts.items():
        seen[name] = []
        for rank in range(3):
            sampler = RandomSampler(4, 8, 16, mask=rows, rng=0)
            sampler = DistributedSampler(sampler, dist_info=lambda rank=rank: (rank, 3), remainder="pad")
            with Loader(batch_sampler=sampler, return_index=True).use_collection(collection) as loader:
                seen[name] += [(batch["obs"]["donor"], batch["index"]) for batch in loader]
    donors_of = {name: {donor for column, _ in batches for donor in column} for name, batches in seen.items()}
    assert donors_of["train"] | donors_of["test"] == set(donors)
    assert not donors_of["train"] & donors_of["test"]
    for name, batches in seen.items():
        assert {row for _, index in batches for row in index.tolist()} == set(parts[name])
        assert donors_of[name] == {donor for donor, part in before.groups.items() if part == name}


OBS = pd.DataFrame({"donor": ["a", "b", "a"], "label": ["x", None, "y"]})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (10, {"a": 0.9, "b": 0.2}),
            ValueError,
            r"positive and add up to at most 1, got \[0.9, 0.2\]",
        ),
        ((10, {"a": 0.9, "b": 0}), ValueError, "`fractions` must be positive"),
        ((10, {"a": 0.9, "b": float("nan")}), ValueError, r"`fractions` must be positive .* got \[0.9, nan\]"),
        ((10, {}), ValueError, "`fractions` must be positive"),
        ((10, [0.2] * 5), ValueError, "`fractions` must be two or three numbers, or named, got \\[0.2, 0.2"),
        ((10, 0.5), ValueError, "`fractions` must be two or three numbers, or named, got 0.5"),
        ((2, THIRDS), ValueError, "`fractions` must give rows to every part, got none of 2"),
        (
            (100, THIRDS),
            ValueError,
            "`chunk_size` must leave rows for each of 3 parts, .*: chunk_size=1 splits",
        ),
        (("c.zarr", THIRDS), TypeError, r"`rows` must be a collection, .*, got a path: `DatasetCollection\(path"),
        ((10, THIRDS, "donor"), ValueError, "`groupby` needs obs instead of the number of rows, got 10"),
        ((10, THIRDS, None, "label"), ValueError, "`stratify` needs obs instead of the number of rows, got 10"),
        ((OBS, THIRDS, "donor"), ValueError, "`groupby` must have a group for each of the 3 parts, got 2 groups"),
        ((OBS, [0.5, 0.5], "label"), ValueError, "`label` must be known for every row, got none for 1 rows"),
        ((OBS, [0.5, 0.5], "sample"), KeyError, "sample"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    rows, fractions, *columns = arguments
    with pytest.raises(error, match=message):
        split(rows, fractions, **dict(zip(("groupby", "stratify"), columns, strict=False)))


def test_rows_of_other_groups_are_refused():
    parts = split(OBS, [0.5, 0.5], groupby="donor")
    with pytest.raises(ValueError, match=r"`obs` must have groups of donor that were split, got \['c'\]"):
        parts.of(pd.DataFrame({"donor": ["a", "c", "b"]}))
    with pytest.raises(ValueError, match="`of` needs a split by groups"):
        split(100, [0.5, 0.5], chunk_size=1).of(OBS)


def test_files_that_hold_no_split_are_refused(tmp_path):
    path = tmp_path / "split.json"
    for content, message in (
        ("", "`path` must be a file that `Split.save` wrote, got .*, not JSON"),
        ("[]", "`path` must be a file that `Split.save` wrote"),
        (json.dumps({"format": "annbatch.Split", "version": 9}), "must be of format version 1, got 9"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            Split.load(path)


def _packed(part_of: bytes) -> str:
    return base64.b64encode(zlib.compress(part_of)).decode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"part_of": _packed(bytes(200_000_000))}, "`part_of` must have 100 rows, got 100 or more"),
        ({"groupby": 2**63}, "`groupby` must be the name of a column, got 9223372036854775808"),
        ({"part_of": _packed(bytes(99))}, "`part_of` must have 100 rows, got 99 or more"),
        ({"part_of": _packed(bytes(100))[:-8]}, "`part_of` must have 100 rows|padding"),
        ({"part_of": _packed(bytes([0, 1, 7, 255] * 25))}, "`part_of` must have numbers of the 2 parts"),
        ({"part_of": "AAAA"}, "error: Error -3 while decompressing"),
        ({"part_of": None}, "TypeError"),
        ({"n_obs": 3_000_000_000}, "`n_obs` must be between 1 and 1,073,741,824, got 3,000,000,000"),
        ({"n_obs": 1e2}, "`n_obs` must be an integer"),
        ({"names": ["a"] * 300}, "`names` must be names of fewer than 255 parts"),
        ({"names": [1, 2]}, "`names` must be names"),
        ({"groups": [["x", "other"]]}, "`groups` must have parts of the split"),
        ({"groups": [[["x"], "train"]]}, "TypeError"),
    ],
)
def test_a_damaged_split_is_refused_before_memory_is_taken(tmp_path, damage, message):
    path = tmp_path / "split.json"
    split(100, [0.5, 0.5], chunk_size=1).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    tracemalloc.start()
    with pytest.raises(CorruptDataError, match=rf"split.json is damaged: .*({message})"):
        Split.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_json_without_end_is_no_split(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"got .*deep\.json, not JSON"):
        Split.load(tmp_path / "deep.json")


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"seed": -1}, ValueError, "`seed` must not be negative, got -1"),
        ({"seed": 0.5}, TypeError, "`seed` must be an integer, got 0.5"),
        ({"chunk_size": 0}, ValueError, "`chunk_size` must be positive, got 0"),
        ({"chunk_size": "64"}, TypeError, "`chunk_size` must be an integer, got '64'"),
    ],
)
def test_a_wrong_seed_or_chunk_size(keywords, error, message):
    with pytest.raises(error, match=message):
        split(10, [0.5, 0.5], **keywords)


def test_a_saved_split_is_replaced_whole(tmp_path):
    path = tmp_path / "split.json"
    first, second = split(100, [0.5, 0.5]), split(200, [0.5, 0.5])
    first.save(path)
    second.save(path)
    assert Split.load(path).n_obs == 200
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("c.zarr", "`rows` must be a collection, a number of rows or a DataFrame, got a path"),
        (ad.AnnData(np.eye(2)), "got an AnnData object: give its `obs`"),
        (Loader(), "got a Loader: `loader.n_obs`"),
        (np.arange(3), "got a matrix"),
    ],
)
def test_rows_of_the_wrong_kind(rows, message):
    with pytest.raises(TypeError, match=message):
        split(rows, THIRDS)
    assert split(np.int64(3_000), THIRDS).n_obs == 3_000
