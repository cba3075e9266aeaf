"""What programs for scverse annbatch read and set of a loader, though it is private."""

from __future__ import annotations

import copy
import itertools
import pickle

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.samplers import RandomSampler, SequentialSampler


def loader_of(n_rows: int = 48, **settings) -> Loader:
    rows = np.arange(n_rows, dtype="f4")[:, None]
    return Loader(batch_size=4, chunk_size=2, preload_nchunks=4, return_index=True, **settings).add_dataset(rows)


def indices(batches) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


def test_obs_is_one_frame_per_dataset_as_batches_have_it(tmp_path):
    frames = [
        pd.DataFrame({"kind": pd.Categorical(kinds), "depth": np.arange(3.0)}, index=[f"{n}{i}" for i in range(3)])
        for n, kinds in enumerate((["a", "b", "a"], ["b", "c", "c"]))
    ]
    in_memory, stored = Loader(), Loader()
    for number, frame in enumerate(frames):
        adata = ad.AnnData(np.zeros((3, 2), "f4"), obs=frame)
        in_memory.add_adata(adata)
        adata.write_h5ad(tmp_path / f"{number}.h5ad")
        stored.add_adata(h5py.File(tmp_path / f"{number}.h5ad"))
        assert len(stored._obs) == number + 1
    for loader in (in_memory, stored):
        assert loader._obs is loader._obs  # it is read once
        assert [one.index.tolist() for one in loader._obs] == [frame.index.tolist() for frame in frames]
        for column in ("kind", "depth"):
            assert [one[column].tolist() for one in loader._obs] == [frame[column].tolist() for frame in frames]
        whole = pd.concat([batch["obs"] for batch in loader])
        pd.testing.assert_frame_equal(pd.concat(loader._obs), whole)


def test_obs_is_none_where_there_is_none():
    frame = pd.DataFrame({"a": range(48)}, index=[str(row) for row in range(48)])
    assert Loader()._obs is None
    assert loader_of()._obs is None
    assert Loader(keys="X").add_adata(ad.AnnData(np.zeros((48, 2)), obs=frame))._obs is None
    chosen = Loader(obs_columns=[]).add_adata(ad.AnnData(np.zeros((48, 2)), obs=frame))
    assert chosen._obs is None or not len(chosen._obs[0].columns)


@pytest.mark.parametrize("sampler", [None, SequentialSampler(2, 4, 4), RandomSampler(2, 4, 4)])
def test_a_sampler_that_replaces_another_has_its_seed_at_once(sampler):
    """So that the copies of the loader in several processes agree on the order."""
    loader = copy.copy(loader_of())
    loader._batch_sampler = RandomSampler(2, 4, 4) if sampler is None else sampler
    one, other = (pickle.loads(pickle.dumps(loader)) for _ in range(2))
    assert indices(one) == indices(other) == indices(loader)


def test_a_copy_with_another_sampler_leaves_the_loader_as_it_was():
    """Training and validation on copies of one loader, in turns, as scvi-tools has it."""
    loader = loader_of(shuffle=True, seed=0)
    training, validation = copy.copy(loader), copy.copy(loader)
    training._batch_sampler = RandomSampler(2, 4, 4, mask=slice(8, 48), rng=np.random.default_rng(1))
    validation._batch_sampler = SequentialSampler(2, 4, 4, mask=slice(0, 8))
    for epoch in range(3):
        assert training.epoch == epoch
        rows = []
        for number, batch in enumerate(training, start=1):
            rows += batch["index"].tolist()
            if number == 5:
                assert np.concatenate(indices(validation)).tolist() == list(range(8))
                state = training.state_dict()
        assert sorted(rows) == list(range(8, 48))
        assert state["position"]["epoch"] == epoch
        resumed = copy.copy(loader)
        resumed._batch_sampler = RandomSampler(2, 4, 4, mask=slice(8, 48))
        resumed.load_state_dict(state)
        assert np.concatenate(indices(resumed)).tolist() == rows[20:]
    assert validation.epoch == 3
    assert loader.epoch == 0


def test_a_sampler_that_is_replaced_midway_begins_an_epoch():
    loader = loader_of(shuffle=True, seed=0)
    batches = iter(loader)
    next(batches)
    loader._batch_sampler = SequentialSampler(2, 4, 4)
    next(batches)
    assert (loader.state_dict()["position"]["epoch"], loader.state_dict()["position"]["steps"]) == (1, 0)
    batches.close()
    assert np.concatenate(indices(loader)).tolist() == list(range(48))


def test_only_a_sampler_can_replace_one():
    with pytest.raises(TypeError, match=r"`batch_sampler` must be an annbatch.abc.Sampler, got a list"):
        loader_of()._batch_sampler = [0, 1]
    with pytest.raises(TypeError, match=r"`batch_sampler` must be an annbatch.abc.Sampler, got None"):
        loader_of()._batch_sampler = None


def test_what_is_added_to_a_copy_is_not_added_to_the_loader():
    loader = loader_of()
    other = copy.copy(loader).add_dataset(np.zeros((5, 1), "f4"))
    assert (loader.n_obs, other.n_obs) == (48, 53)
    assert list(itertools.chain(*indices(loader))) == list(range(48))


def test_to_torch_is_deprecated():
    with pytest.warns(DeprecationWarning, match="`to_torch` is deprecated") as caught:
        loader = Loader(to_torch=False)
    assert caught[0].filename == __file__
    assert isinstance(next(iter(loader.add_dataset(np.zeros((3, 1)))))["X"], np.ndarray)
    with pytest.raises(ValueError, match=r"`to_torch` must be left out where `to` is given"):
        Loader(to_torch=True, to="jax")
    with pytest.raises(TypeError, match=r"`to_torch` must be a bool"):
        Loader(to_torch="cpu")


def test_the_class_takes_types():
    assert Loader[np.ndarray, np.ndarray](batch_size=2).add_dataset(np.zeros((3, 1))).n_obs == 3
