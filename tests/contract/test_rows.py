"""Rows of a loader by number: in the samplers and transformations of each framework."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from annbatch_jax import grain_source


@pytest.mark.parametrize("changes", [{}, {"obs_as": "arrays"}, {"densify": True}], ids=repr)
def test_taken_rows_are_a_batch(framework, make_loader, changes):
    loader = make_loader(framework.to, return_index=True, **changes)
    for batch in loader:
        taken = loader.take(batch["index"])
        assert framework.bits(taken["X"]) == framework.bits(batch["X"])
        if "obs_as" in changes:
            assert all(np.array_equal(taken["obs"][name], batch["obs"][name]) for name in batch["obs"])
        else:
            assert taken["obs"].equals(batch["obs"])


def rows_of(framework, loader):
    if framework.to == "torch":
        return pytest.importorskip("annbatch_torch").as_map_dataset(loader)
    return grain_source(loader)


@pytest.mark.parametrize("changes", [{}, {"obs_as": "arrays", "densify": True}], ids=repr)
def test_single_rows_can_be_stacked(framework, make_loader, counts, obs, changes):
    rows = pickle.loads(pickle.dumps(rows_of(framework, make_loader(framework.to, return_index=True, **changes))))
    assert len(rows) == len(obs)
    for row, found in zip([7, 3_000, 7], [*rows.__getitems__([7, 3_000]), rows[7]], strict=True):
        np.testing.assert_array_equal(found["X"], counts[row].toarray()[0])
        assert found["index"] == row
        label = obs["label"].cat.codes.iloc[row] if changes else obs["label"].iloc[row]
        assert (found["obs"]["label"], found["obs"]["barcode"]) == (label, obs["barcode"].iloc[row])
        assert set(found) == {"X", "obs", "index"}
    for number in (-1, len(obs)):
        with pytest.raises(IndexError, match=rf"must be one of the loader's rows, 0..3000, got {number}"):
            rows[number]


def test_grain_batches_rows(make_loader, counts):
    grain = pytest.importorskip("grain", reason="Grain is not installed")
    source = grain_source(make_loader(None, return_index=True))
    assert isinstance(source, grain.sources.RandomAccessDataSource)
    one_by_one = grain.MapDataset.source(source).shuffle(seed=0).batch(16)
    together = grain.MapDataset.range(len(source)).shuffle(seed=0).batch(16).map(source.loader.take)
    for number in (0, 5):
        one, other = one_by_one[number], together[number]
        np.testing.assert_array_equal(one["index"], other["index"])
        np.testing.assert_array_equal(one["X"], other["X"].toarray())
        np.testing.assert_array_equal(one["X"], counts[one["index"]].toarray())
