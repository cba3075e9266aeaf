"""Loaders where there are several ranks: they divide an epoch, or warn that they do not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import annbatch
from annbatch import Loader
from annbatch.samplers import DistributedSampler, SequentialSampler

ROWS = np.arange(24, dtype=np.float32)[:, None]
WARNING = "Each of the 2 ranks reads all rows"


@pytest.fixture(params=[{"RANK": "1", "WORLD_SIZE": "2"}, {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}])
def two_ranks(monkeypatch, request):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)


def seen(loader):
    return np.concatenate([batch["X"][:, 0] for batch in loader]).astype(int).tolist()


def test_a_loader_that_is_not_distributed_warns_once(two_ranks):
    loader = Loader(batch_size=4).add_dataset(ROWS)
    with pytest.warns(UserWarning, match=WARNING) as found:
        assert seen(loader) == list(range(24))
    assert [warning.filename for warning in found] == [__file__]
    assert seen(loader) == list(range(24))
    mixed = annbatch.mix([Loader(batch_size=4).add_dataset(ROWS)])
    with pytest.warns(UserWarning, match=WARNING) as found:
        seen(mixed)
    assert len(found) == 1
    seen(mixed)


def test_ranks_may_read_the_same_rows_on_purpose(two_ranks):
    loader = Loader(batch_size=4, distributed=False).add_dataset(ROWS)
    assert seen(loader) == seen(pickle.loads(pickle.dumps(loader))) == list(range(24))


@pytest.mark.parametrize("given", [{"batch_size": 4}, {"batch_sampler": SequentialSampler(4, 1, 4)}])
def test_distributed_true_divides_the_rows(two_ranks, given):
    loader = Loader(**given, distributed=True).add_dataset(ROWS)
    assert seen(loader) == list(range(12, 24))
    assert seen(Loader(batch_sampler=DistributedSampler(SequentialSampler(4, 1, 4))).add_dataset(ROWS)) == [
        *range(12, 24)
    ]


def test_ranks_that_join_later_are_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    loader = Loader(batch_size=4, distributed=True).add_dataset(ROWS)
    assert seen(loader) == list(range(24))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(RuntimeError, match=r"found 1 rank\(s\) when .* now there are 2: make it after the processes"):
        iter(loader)


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="`distributed` must be True or False, got 'torch'"):
        Loader(distributed="torch")
    with pytest.raises(ValueError, match="`distributed` must not be False where"):
        Loader(batch_sampler=DistributedSampler(SequentialSampler(4, 1, 4)), distributed=False)
