"""Batches of a bound sampler are of the classes that another sampler draws."""

from __future__ import annotations

from copy import copy

import numpy as np
import pandas as pd
import pytest

from annbatch.samplers import BoundClassSampler, ClassSampler, DistributedSampler, WeightedClassSampler
from annbatch.testing import SamplerTests

from .conftest import assert_drawn_by, batches

RNG = np.random.default_rng(0)
PERTURBED = pd.Categorical.from_codes(RNG.choice(3, 100, p=[0.6, 0.3, 0.1]), ["a", "b", "c"])
CONTROL = pd.Categorical.from_codes(RNG.choice(3, 80, p=[0.2, 0.3, 0.5]), ["c", "b", "a"])


def inner(**more):
    return ClassSampler(5, 4, 10, **{"classes": PERTURBED, "num_samples": 400, "rng": 0, **more})


def bound(sampler=None, **more):
    return BoundClassSampler(sampler or inner(), 2, 6, 4, **{"classes_to_bind_on": CONTROL, "rng": 1, **more})


def classes_of(sampler, classes, epoch=0):
    found = []
    for batch in batches(sampler, len(classes), epoch):
        names = {classes[row] for row in batch}
        assert len(names) == 1
        found += names
    return found


class TestBoundClassSampler(SamplerTests):
    n_obs = (80,)
    refused_n_obs = (1, 81)
    every_row_once = False
    epochs_differ = True

    def make_sampler(self):
        return bound()


@pytest.mark.parametrize("sizes", [(5, 4, 10), (1, 20, 5), (20, 2, 10), (3, 20, 4)])
def test_the_classes_are_those_of_the_other_sampler(sizes):
    sampler = ClassSampler(*sizes, classes=PERTURBED, num_samples=401, rng=np.random.default_rng(3))
    follower = bound(copy(sampler))
    for epoch in range(3):
        there = [PERTURBED[batch[0]] for batch in batches(sampler, 100, epoch)]
        if sizes[2] % sizes[0] == 0 or sizes[0] % sizes[2] == 0:
            assert there == classes_of(sampler, PERTURBED, epoch)
        assert classes_of(follower, CONTROL, epoch) == there
        assert len(there) == sampler.n_batches(100) == follower.n_batches(80)


def test_names_match_at_positions_and_classes_within_are_drawn_by_weight():
    lines = pd.Categorical.from_codes(PERTURBED.codes, [("a", "x"), ("b", "x"), ("c", "y")])
    others = pd.Categorical.from_codes(CONTROL.codes, [(1, "c"), (1, "b"), (2, "a")])
    within = pd.Categorical.from_codes(np.arange(80) % 3, ["p", "q", "never"])
    sampler = inner(classes=lines, num_samples=40_000)
    follower = bound(sampler, classes_to_bind_on=others, on={0: 1}, classes=within, class_weights=np.array([3, 1, 0]))
    there = [name[0] for name in classes_of(sampler, lines)]
    assert [name[1] for name in classes_of(follower, others)] == there
    drawn = classes_of(follower, within)
    assert_drawn_by(np.array([drawn.count("p"), drawn.count("q")]), np.array([0.75, 0.25]))
    assert follower.categories[0] == ("c", "p")


def test_bound_samplers_chain_and_ranks_agree():
    first = inner()
    second = bound(copy(first))
    third = bound(copy(second), classes_to_bind_on=PERTURBED)
    there = classes_of(first, PERTURBED)
    assert classes_of(third, PERTURBED) == there
    for rank in range(3):
        of_rank = [DistributedSampler(copy(one), dist_info=lambda rank=rank: (rank, 3)) for one in (first, second)]
        assert classes_of(of_rank[0], PERTURBED) == classes_of(of_rank[1], CONTROL)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: bound(classes_to_bind_on=list("abc")), TypeError, "`classes_to_bind_on` must be a pandas.Categorical"),
        (
            lambda: bound(classes_to_bind_on=pd.Categorical(["a", None])),
            ValueError,
            "for every row, got none for 1 row",
        ),
        (
            lambda: bound(classes_to_bind_on=pd.Categorical(["a", "z"])),
            ValueError,
            r"of the inner sampler, got \['z'\]",
        ),
        (
            lambda: bound(classes_to_bind_on=pd.Categorical(["a", "b"])),
            ValueError,
            "every class that the inner sampler",
        ),
        (
            lambda: bound(class_weights=np.ones(2)),
            ValueError,
            "`class_weights` must be left out where `classes` is None",
        ),
        (
            lambda: bound(classes=pd.Categorical(["p"])),
            ValueError,
            "`classes` must have 80 entries, as classes_to_bind",
        ),
        (lambda: bound(on={0: 1}), ValueError, r"`on` must give positions in tuples, got \[1\] for names as 'c'"),
        (lambda: bound(mask=slice(0, 1)), ValueError, "must leave rows of each class that the inner sampler draws"),
        (
            lambda: BoundClassSampler(inner(), 3, 4, 4, classes_to_bind_on=CONTROL),
            ValueError,
            "multiple of chunk_size 3",
        ),
        (
            lambda: bound(WeightedClassSampler(5, 4, 10, classes=PERTURBED, num_samples=10)),
            TypeError,
            "`inner_sampler` must be a ClassSampler or BoundClassSampler, got WeightedClassSampler",
        ),
    ],
)
def test_what_cannot_be_bound_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()
