"""Sets of rows, and that samplers read nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch.samplers import ClassSampler, RandomSampler, RowSet, SequentialSampler, WeightedClassSampler

from .conftest import batches, flat

N_OBS = 120
CLASSES = pd.Categorical(np.random.default_rng(0).choice(["a", "b", "c"], N_OBS))
row_sets = st.sets(st.integers(0, N_OBS - 1), min_size=1)


def ways_to_name(rows: set[int]) -> list:
    """Return a set of rows in every way in which it can be given."""
    mask = np.zeros(N_OBS, bool)
    mask[list(rows)] = True
    ways = [mask, np.array(sorted(rows, reverse=True)), sorted(rows), np.array(list(rows), np.uint16), RowSet(mask)]
    return [*ways, mask.tolist()]


@given(row_sets)
def test_a_set_is_what_it_was_made_from(rows):
    ordered = np.array(sorted(rows))
    for way in ways_to_name(rows):
        found = RowSet(way, N_OBS)
        assert np.array_equal(np.asarray(found), ordered)
        assert list(found) == ordered.tolist()
        assert (len(found), found.stop) == (len(rows), ordered[-1] + 1)
        assert found.is_range == (len(rows) == np.ptp(ordered) + 1)
        assert found.digest() == RowSet(ordered).digest()
        positions = np.arange(len(rows))[::-1]
        assert np.array_equal(found.at(positions), ordered[positions])


@given(row_sets, row_sets)
def test_different_sets_have_different_digests(one, other):
    assert (RowSet(sorted(one)).digest() == RowSet(sorted(other)).digest()) == (one == other)


def test_a_slice_may_be_open():
    assert np.array_equal(np.asarray(RowSet(slice(5, None), 9)), np.arange(5, 9))
    assert np.array_equal(np.asarray(RowSet(slice(5, 8)), dtype=np.int32), [5, 6, 7])
    assert repr(RowSet([1, 2, 3, 9])) == "RowSet(4 rows in 2 runs, 1..9)"


SAMPLERS = {
    "sequential": lambda mask: SequentialSampler(7, 6, 14, mask=mask),
    "random": lambda mask: RandomSampler(7, 6, 14, mask=mask, rng=0),
    "single rows": lambda mask: RandomSampler(1, 42, 14, mask=mask, rng=0),
    "replacement": lambda mask: RandomSampler(1, 14, 7, replacement=True, mask=mask, num_samples=300, rng=0),
    "weights": lambda mask: RandomSampler(7, 6, 14, weights=np.ones(N_OBS), mask=mask, rng=0),
    "class": lambda mask: ClassSampler(7, 6, 14, classes=CLASSES, num_samples=300, mask=mask, rng=0),
    "weighted class": lambda mask: WeightedClassSampler(7, 6, 14, classes=CLASSES, num_samples=300, mask=mask, rng=0),
}


@pytest.mark.parametrize("make", SAMPLERS.values(), ids=SAMPLERS)
@settings(max_examples=25)
@given(rows=row_sets)
def test_no_sampler_reads_a_row_outside(make, rows):
    for way in ways_to_name(rows)[:2]:
        sampler = make(way)
        for request in sampler.sample(N_OBS):
            named = request["requests"]
            if not isinstance(named, np.ndarray):
                named = np.concatenate([np.arange(r.start, r.stop) for r in named])
            assert set(named.tolist()) <= rows
        moved = make(slice(0, None))
        moved.mask = way
        assert batches(moved, N_OBS) == batches(sampler, N_OBS)


@pytest.mark.parametrize("name", ["sequential", "random", "single rows"])
@given(rows=row_sets)
def test_every_row_of_a_set_comes_once(name, rows):
    found = flat(batches(SAMPLERS[name](sorted(rows)), N_OBS))
    assert sorted(found) == sorted(rows)
    if name == "sequential":
        assert found == sorted(rows)


def test_a_chunk_is_consecutive_rows_of_the_set():
    rows = np.flatnonzero(np.arange(N_OBS) % 3 != 0)
    request = next(RandomSampler(8, 2, 16, mask=rows, rng=0).sample(N_OBS))
    first, second = np.split(np.searchsorted(rows, request["requests"]), 2)
    assert np.array_equal(np.diff(first), np.ones(7))
    assert np.array_equal(np.diff(second), np.ones(7))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([], TypeError, "got 1 dimensions of float64"),
        (np.array([], int), ValueError, "`mask` must name at least one row, got none of 0"),
        (np.zeros(9, bool), ValueError, "`mask` must name at least one row, got none of 9"),
        ([3, -1], ValueError, "`mask` must name rows by numbers from 0, got -1"),
        ([3, 5, 3], ValueError, "`mask` must name no row twice, got row 3 again"),
        ([0.5], TypeError, "`mask` must be a slice, a boolean mask, or an array of row numbers.*float64"),
        (np.zeros((2, 2), bool), TypeError, "got 2 dimensions of bool"),
        ("train", TypeError, "got 0 dimensions of <U5"),
        (slice(3, 3), ValueError, "`mask.start` must be < mask.stop, got 3 and 3"),
    ],
)
def test_what_is_no_set_of_rows_is_refused(mask, error, message):
    with pytest.raises(error, match=message):
        RandomSampler(1, 1, 1, mask=mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(19, bool), r"`mask` must have one entry per row of the loader \(20\), got 19"),
        (RowSet(np.ones(21, bool)), r"`mask` must have one entry per row of the loader \(20\), got 21"),
        ([3, 20], r"`mask` must name rows of the loader's 0..20, got 20"),
        (RowSet(slice(1, 30)), r"`mask` must name rows of the loader's 0..20, got 29"),
    ],
)
def test_rows_that_the_loader_lacks_are_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        RandomSampler(1, 1, 1, mask=mask).validate(20)


def test_an_open_slice_alone_is_no_set():
    with pytest.raises(ValueError, match=r"`rows.stop` must be given where n_obs is not, got slice"):
        RowSet(slice(3, None))


@pytest.mark.parametrize("n_obs", ["x", 1.5, [3], np.array([1, 2])])
def test_the_number_of_rows_is_an_integer(n_obs):
    with pytest.raises(TypeError, match="`n_obs` must be an integer, got"):
        RowSet([0, 1], n_obs)
    assert RowSet([0, 1], np.int64(3)).n_obs == 3
