"""A loader as the dataset of a ``DataLoader``."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from annbatch import DatasetCollection, Loader, mix
from annbatch.samplers import PairedSampler
from annbatch.tokens import RandomGenes
from annbatch_torch import as_iterable_dataset

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


# JAX, where a test imported it, and Python from 3.12 on warn of any fork; the children use neither JAX nor locks.
forks = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:This process:DeprecationWarning")


def loader_of(make_loader, **changes):
    return make_loader("torch", return_index=True, **changes)


def test_batches_come_through_a_dataloader(make_loader):
    dataset = loader_of(make_loader)
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    assert as_iterable_dataset(dataset) is dataset
    batches = torch.utils.data.DataLoader(dataset, batch_size=None)
    expected = list(loader_of(make_loader))
    assert len(batches) == len(dataset) == len(expected)
    for batch, same in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(batch["index"], same["index"])
        assert batch["X"].layout is torch.sparse_csr
        assert torch.equal(batch["X"].to_dense(), same["X"].to_dense())
        assert batch["obs"].equals(same["obs"])


def test_a_loader_is_a_dataset_once_pytorch_is_imported():
    code = """
import sys
import numpy as np
from annbatch import Loader, mix
loader = Loader(batch_size=4).add_dataset(np.zeros((10, 2)))
mixed = mix([loader])
assert "torch" not in sys.modules
from torch.utils.data import DataLoader, IterableDataset
assert isinstance(loader, IterableDataset) and isinstance(mixed, IterableDataset)
assert not isinstance(loader.stats, IterableDataset) and type(loader) is loader.__class__ is Loader
assert [len(batch["X"]) for batch in DataLoader(loader, batch_size=None)] == [4, 4, 2]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_copies_share_no_epoch_with_the_dataset():
    loader = in_memory()
    assert isinstance(loader, torch.utils.data.IterableDataset)
    for other in (copy.copy(loader), copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):
        other.set_epoch(3)
        assert isinstance(other, torch.utils.data.IterableDataset)
        assert (loader.epoch, other.epoch) == (0, 3)
        assert indices(other) == indices(loader_at(3))


@forks
def test_workers_of_a_mix_begin_the_next_epoch():
    mixed = mix([in_memory(), in_memory()], weights=[2, 1], seed=0)
    workers = {"batch_size": None, "num_workers": 2, "multiprocessing_context": "fork"}
    found = [indices(torch.utils.data.DataLoader(mixed, **workers)) for _ in range(3)]
    mixed.set_epoch(1)
    assert indices(torch.utils.data.DataLoader(mixed, **workers)) == found[1]
    assert found[0] != found[1] != found[2] != found[0]


@forks
def test_forked_workers_read_a_stored_collection(collection):
    loader = Loader(batch_size=64, shuffle=True, return_index=True).use_collection(DatasetCollection(collection))
    batches = torch.utils.data.DataLoader(loader, batch_size=None, num_workers=2, multiprocessing_context="fork")
    first, second = ([batch["index"] for batch in batches] for _ in range(2))
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(loader.n_obs))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))


def test_the_epoch_is_the_loader_s(make_loader):
    dataset = loader_of(make_loader)
    first = [batch["index"] for batch in dataset]
    dataset.set_epoch(0)
    again = [batch["index"] for batch in dataset]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))


def in_memory(**changes) -> Loader:
    """Return a loader whose rows survive a fork: what reads stored ones has threads that do not."""
    settings = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 8, "shuffle": True, "seed": 0, "to": "torch"}
    return Loader(**settings, return_index=True, **changes).add_dataset(np.arange(500, dtype="f4")[:, None])


def indices(batches) -> list[list[int]]:
    return [np.asarray(batch["index"]).tolist() for batch in batches]


def interleaved(parts: list[list]) -> list:
    return [part[k] for k in range(max(map(len, parts))) for part in parts if k < len(part)]


@forks
@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_split_an_epoch(n_workers):
    expected = indices(in_memory())
    dataset = in_memory()
    settings = {"batch_size": None, "num_workers": n_workers, "multiprocessing_context": "fork"}
    found = indices(torch.utils.data.DataLoader(dataset, **settings))
    each, more = divmod(len(expected), n_workers)
    starts = [worker * each + min(worker, more) for worker in range(n_workers + 1)]
    assert found == interleaved([expected[a:b] for a, b in itertools.pairwise(starts)])
    dataset.set_epoch(1)
    loader = in_memory()
    loader.set_epoch(1)
    second = indices(torch.utils.data.DataLoader(dataset, **settings))
    assert sorted(second) == sorted(indices(loader))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # PyTorch's, where it unpickles a matrix
def test_a_worker_that_is_spawned_yields_the_same(make_loader):
    dataset = loader_of(make_loader)
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for one, other in zip(batches, loader_of(make_loader), strict=True):
        assert torch.equal(one["X"].to_dense(), other["X"].to_dense())
        assert one["obs"].equals(other["obs"])


def pairs_with_tokens() -> Loader:
    obs = pd.DataFrame(
        {"line": ["A", "B", "B"] * 40, "drug": ["none", "none", "x", "x"] * 30}, index=map(str, range(120))
    )
    sampler = PairedSampler(
        ["line", "drug"], control={"drug": "none"}, match_on="line", set_size=4, sets_per_batch=2, rng=0
    )
    doses = {"drug": {"none": 0.0, "x": 1.0}}
    options = {"encoder": RandomGenes(3), "covariates": doses, "return_index": True, "to": "torch"}
    return Loader(batch_sampler=sampler, **options).add_dataset(np.arange(1200, dtype="f4").reshape(120, 10), obs=obs)


@forks
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_share_pairs_with_tokens_and_covariates(context):
    def facts(batches):
        parts = [(b, b["control"], b["covariates"]["drug"].tolist(), b["group"].tolist()) for b in batches]
        tokens = [(a["index"].tolist(), a["tokens"]["ids"].tolist()) for part in parts for a in part[:2]]
        return sorted(tokens), sorted(part[2:] for part in parts)

    workers = {"batch_size": None, "num_workers": 2, "multiprocessing_context": context}
    found = facts(torch.utils.data.DataLoader(pairs_with_tokens(), **workers))
    assert found == facts(pairs_with_tokens())


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@forks
@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_stateful_dataloader_goes_on(n_workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def make():
        dataset = in_memory()
        workers = {"num_workers": n_workers, "multiprocessing_context": "fork"} if n_workers else {}
        return stateful.StatefulDataLoader(dataset, batch_size=None, **workers)

    batches = make()
    expected = indices(batches)
    for taken in (1, 7, len(expected) // 2, len(expected) - 1):
        batches = make()
        iterator = iter(batches)
        indices(itertools.islice(iterator, taken))
        state = pickle.loads(pickle.dumps(batches.state_dict()))
        other = make()
        other.load_state_dict(state)
        assert indices(other) == expected[taken:]


@forks
def test_a_state_without_workers_goes_on_with_some():
    loader = in_memory()
    expected = indices(loader)
    loader.set_epoch(0)
    indices(itertools.islice(loader, 11))
    dataset = in_memory()
    dataset.load_state_dict(loader.state_dict())
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(indices(batches)) == sorted(expected[11:])


@forks
def test_workers_that_stay_agree_on_the_epoch():
    """Also where one had come to the end of its part when the epoch was broken off."""
    dataset = in_memory()
    workers = {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": True}
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, prefetch_factor=1, **workers)
    epochs = [indices(loader_at(epoch)) for epoch in range(6)]
    for epoch, taken in enumerate([None, len(epochs[0]) - 1, 2]):
        found = indices(itertools.islice(batches, taken))
        assert all(batch in epochs[epoch] for batch in found)
    dataset.set_epoch(5)
    assert sorted(indices(batches)) == sorted(epochs[5])
    dataset.set_epoch(0)
    assert sorted(indices(batches)) == sorted(epochs[0])
    assert sorted(indices(batches)) == sorted(epochs[1])


@forks
@pytest.mark.parametrize("taken", [None, 3])
def test_new_workers_begin_the_next_epoch(taken):
    """Also with another number of workers, a seed that comes again, and after an epoch was chosen or left early."""
    dataset = in_memory()
    expected = [indices(loader_at(epoch)) for epoch in range(6)]

    def some(n_workers):
        workers = {"num_workers": n_workers, "multiprocessing_context": "fork"} if n_workers else {}
        return indices(itertools.islice(torch.utils.data.DataLoader(dataset, batch_size=None, **workers), taken))

    def check(found, epoch):
        assert len(found) == (taken or len(expected[epoch]))
        assert all(batch in expected[epoch] for batch in found)

    for epoch, n_workers in enumerate([2, 1, 2, 2]):
        torch.manual_seed(0)
        check(some(n_workers), epoch)
    dataset.set_epoch(1)
    check(some(2), 1)
    check(some(2), 2)
    dataset.load_state_dict(loader_at(4).state_dict())
    check(some(2), 4)
    check(some(2), 5)


def loader_at(epoch: int) -> Loader:
    loader = in_memory()
    loader.set_epoch(epoch)
    return loader
