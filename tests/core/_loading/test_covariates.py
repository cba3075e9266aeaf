"""Each set comes with the rows that tables have for its group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.samplers import PairedSampler, SetSampler

OBS = pd.DataFrame(
    {"drug": ["x", "y", "DMSO", "x"] * 10, "dose": [1, 2, 0, 3] * 10}, index=[f"{row}" for row in range(40)]
)
FINGERPRINTS = pd.DataFrame(np.arange(6.0).reshape(2, 3), index=pd.Index(["y", "x"], name="drug"))
STRENGTH = pd.Series([7, 8, 9], index=pd.MultiIndex.from_tuples([(1, "x"), (2, "y"), (3, "x")], names=["dose", "drug"]))


def loader(covariates, **more):
    sampler = PairedSampler(["drug", "dose"], control={"drug": "DMSO"}, set_size=2, sets_per_batch=3, rng=0)
    more = {"batch_sampler": sampler, "covariates": covariates, **more}
    return Loader(**more).add_dataset(np.zeros((40, 1), "f4"), obs=OBS)


@pytest.mark.parametrize("to", [None, "torch", "jax"])
def test_rows_of_tables_come_with_sets(to):
    if to is not None:
        pytest.importorskip(to, reason=f"{to} is not installed")
    made = loader({"structure": FINGERPRINTS, "strength": STRENGTH, "dose": {1: 0.5, 2: 1, 3: 2}}, to=to)
    for batch in made:
        groups = made.groups.iloc[np.asarray(batch["group"])]
        covariates = {name: np.asarray(array) for name, array in batch["covariates"].items()}
        assert type(batch["covariates"]["structure"]) is type(batch["X"])
        assert covariates["structure"].dtype == np.float32
        assert covariates["structure"].tolist() == FINGERPRINTS.loc[groups["drug"]].to_numpy().tolist()
        assert covariates["strength"].tolist() == [STRENGTH[dose, drug] for drug, dose in groups.to_numpy()]
        assert covariates["dose"].tolist() == [{1: 0.5, 2: 1, 3: 2}[dose] for dose in groups["dose"]]


def test_a_table_of_the_only_column_needs_no_names():
    sampler = SetSampler("drug", set_size=2, sets_per_batch=3, rng=0)
    made = loader({"which": {"x": [1, 2], "y": [3, 4], "DMSO": [0, 0]}}, batch_sampler=sampler)
    batch = next(iter(made))
    assert [made.groups["drug"][group] for group in batch["group"]] == [
        {1: "x", 3: "y", 0: "DMSO"}[row[0]] for row in batch["covariates"]["which"].tolist()
    ]


@pytest.mark.parametrize(
    ("covariates", "error", "text"),
    [
        ([1], TypeError, "`covariates` must be a dict of tables by name, got a list"),
        ({"a": 3}, TypeError, r"`covariates\['a'\]` must be a DataFrame, a Series or a dict, got builtins.int"),
        ({"a": {"x": [1], "y": [1, 2]}}, ValueError, "must have vectors of one length"),
        (
            {"a": {"x": "word"}},
            ValueError,
            r"must be numbers, got (<U4|object|str)",
        ),
        ({"a": pd.Series([1, 2], index=["x", "x"])}, ValueError, "must have one row per key, got 'x' twice"),
        ({"a": pd.Series([1], index=["x"])}, ValueError, r"keyed by columns of the groups, \['drug', 'dose'\]"),
        ({}, ValueError, "`covariates` must have at least one table, got none"),
        (
            {"drug": {"x": 1.0, "y": 1e39}},
            ValueError,
            r"`covariates\['drug'\]` must be numbers that float32 holds, got 1e",
        ),
        (
            {"drug": {"y": 1}},
            ValueError,
            r"a row for each value of \['drug'\] .*, got none for 1: \['x'\]",
        ),  # of 2 doses
        ({"drug": {"x": 1}}, ValueError, r"a row for each value of \['drug'\] .*, got none for 1: \['y'\]"),
    ],
)
def test_tables_that_do_not_fit_are_refused(covariates, error, text):
    with pytest.raises(error, match=text):
        iter(loader(covariates))


def test_covariates_need_sets():
    with pytest.raises(ValueError, match="`covariates` need a sampler of sets, such as a SetSampler"):
        iter(Loader(covariates={"a": {"x": 1}}).add_dataset(np.zeros((4, 1))))


def test_keys_may_be_tuples_or_have_a_name_of_their_own():
    of_both = {(drug, dose): dose for drug, dose in [("x", 1), ("y", 2), ("x", 3)]}
    of_drug = pd.Series([5, 6], index=pd.Index(["x", "y"], name="compound"))
    made = loader({"both": of_both, "drug": of_drug})
    for batch in made:
        groups = made.groups.iloc[batch["group"]]
        assert batch["covariates"]["both"].tolist() == groups["dose"].tolist()
        assert batch["covariates"]["drug"].tolist() == [{"x": 5, "y": 6}[drug] for drug in groups["drug"]]


def test_without_data_there_is_nothing_to_iterate_over():
    with pytest.raises(ValueError, match="must have rows to iterate over"):
        iter(Loader(batch_sampler=SetSampler("drug"), covariates={"drug": {"x": 1}}))
