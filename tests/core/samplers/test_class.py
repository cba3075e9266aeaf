"""Classes are drawn with the distribution that was asked for: fixed seeds, exact bounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from annbatch.samplers import ClassSampler, WeightedClassSampler

from .conftest import assert_drawn_by, batches, counts, flat

N_OBS = 60
CODES = np.random.default_rng(3).choice(3, N_OBS, p=[0.6, 0.3, 0.1])
SHUFFLED, GROUPED = (pd.Categorical.from_codes(codes, ["a", "b", "c"]) for codes in (CODES, np.sort(CODES)))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [SHUFFLED, GROUPED], ids=["shuffled", "grouped"])
@pytest.mark.parametrize("weights", [None, [1, 5, 2], [3, -1, 1]])
@pytest.mark.parametrize("chunk_size", [1, 4, 100])
def test_classes_come_by_their_weights(classes, weights, chunk_size):
    shares = np.ones(3) if weights is None else np.maximum(weights, 0)
    settings = {"classes": classes, "class_weights": None if weights is None else np.array(weights), "rng": 0}
    sampler = ClassSampler(chunk_size, 20, 20, num_samples=40_000, **settings)
    found, rows = [], np.zeros(N_OBS, int)
    for request in sampler.sample(N_OBS):
        requested = np.r_[tuple(request["requests"])]
        for split in request["splits"]:
            codes = set(classes.codes[requested[split]].tolist())
            assert len(codes) == 1
            found += codes
        rows += np.bincount(requested, minlength=N_OBS)
    if chunk_size < 100:  # a class each batch
        assert_drawn_by(np.bincount(found, minlength=3), shares / shares.sum())
    assert set(np.flatnonzero(rows)) == set(np.flatnonzero(np.isin(classes.codes, np.flatnonzero(shares))))


@pytest.mark.parametrize("classes", [SHUFFLED, GROUPED], ids=["shuffled", "grouped"])
def test_weighted_classes_mix_and_their_rows_are_all_alike(classes):
    settings = {"classes": classes, "class_weights": np.array([1, 5, 2]), "num_samples": 100_000, "rng": 0}
    found = counts(WeightedClassSampler(1, 1_000, 100, **settings), N_OBS)
    share = np.array([1, 5, 2])[classes.codes] / 8 / np.bincount(classes.codes)[classes.codes]
    assert_drawn_by(found, share)
    mixed = [{CODES[row] for row in batch} for batch in batches(WeightedClassSampler(5, 40, 100, **settings), N_OBS)]
    assert all(len(codes) > 1 for codes in mixed)


def test_chunks_of_a_class_are_read_where_the_collection_is_sorted_by_it():
    sampler = ClassSampler(5, 20, 10, classes=GROUPED, num_samples=1_000, rng=0)
    for request in sampler.sample(N_OBS):
        assert all(isinstance(part, slice) and len(set(GROUPED.codes[part])) == 1 for part in request["requests"])
        chunks = np.r_[tuple(request["requests"])].reshape(-1, 5)
        ends = np.cumsum(np.bincount(GROUPED.codes))
        contiguous = (np.diff(chunks, axis=1) == 1).all(axis=1)
        around = np.isin(chunks, ends - 1).any(axis=1)  # from a class's last row on to its first
        assert (contiguous | around).all()


def test_a_class_that_is_not_in_the_mask_leaves_its_weight_to_the_others():
    mask = np.flatnonzero(CODES != 1)
    sampler = WeightedClassSampler(1, 1_000, 100, classes=SHUFFLED, mask=mask, num_samples=50_000, rng=0)
    found = np.bincount(CODES[flat(batches(sampler, N_OBS))], minlength=3)
    assert_drawn_by(found, np.array([0.5, 0, 0.5]))


CLASS = {"classes": SHUFFLED, "num_samples": 10}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": CODES}, TypeError, "`classes` must be a pandas.Categorical, got ndarray"),
        (
            {"classes": pd.Categorical(["a", None])},
            ValueError,
            "`classes` must name a class.*got none for 1",
        ),
        ({"num_samples": 0}, ValueError, "`num_samples` must be positive, got 0"),
        (
            {"class_weights": np.ones(2)},
            ValueError,
            r"must have one weight per category \(3,\), got \(2,\)",
        ),
        ({"class_weights": pd.Series([1, 1, 1])}, TypeError, "`class_weights` must be an array.*got a Series"),
        ({"class_weights": [0, 0, -1]}, ValueError, "`class_weights` must have at least one positive weight"),
        ({"class_weights": [1, np.nan, 1]}, ValueError, "`class_weights` must be finite"),
        ({"class_weights": [0, 1, 0], "mask": np.flatnonzero(CODES != 1)}, ValueError, "got none in RowSet"),
        ({"mask": slice(0, 61)}, ValueError, "`mask.stop` must be at most the loader's n_obs 60, got 61"),
    ],
)
def test_wrong_classes_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        ClassSampler(1, 2, 2, **{**CLASS, **changes})


def test_classes_must_fit_the_rows():
    sampler = ClassSampler(1, 2, 2, **CLASS)
    with pytest.raises(ValueError, match=r"`classes` must have one entry per row of the loader \(61\), got 60"):
        sampler.validate(61)
    assert sampler.shuffle
    with pytest.raises(ValueError, match=r"`mask.start` must be < mask.stop"):
        sampler.mask = slice(4, 4)
    assert sampler.mask == slice(0, None)
