"""A loader as the dataset of a ``DataLoader``."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from annbatch import Loader
from annbatch_torch import as_iterable_dataset

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)


def loader_of(make_loader, **changes):
    return make_loader("torch", return_index=True, **changes)


def test_batches_come_through_a_dataloader(make_loader):
    dataset = as_iterable_dataset(loader_of(make_loader))
    assert isinstance(dataset, torch.utils.data.IterableDataset)
    batches = torch.utils.data.DataLoader(dataset, batch_size=None)
    expected = list(loader_of(make_loader))
    assert len(batches) == len(dataset) == len(expected)
    for batch, same in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(batch["index"], same["index"])
        assert batch["X"].layout is torch.sparse_csr
        assert torch.equal(batch["X"].to_dense(), same["X"].to_dense())
        assert batch["obs"].equals(same["obs"])


def test_the_epoch_is_the_loader_s(make_loader):
    dataset = as_iterable_dataset(loader_of(make_loader))
    first = [batch["index"] for batch in dataset]
    dataset.set_epoch(0)
    again = [batch["index"] for batch in dataset]
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))


def in_memory(**changes) -> Loader:
    """Return a loader whose rows survive a fork: what reads stored ones has threads that do not."""
    settings = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 8, "shuffle": True, "seed": 0, "to": "torch"}
    return Loader(**settings, return_index=True, **changes).add_dataset(np.arange(500, dtype="f4")[:, None])


# JAX, where a test imported it, and Python from 3.12 on warn of any fork; the children use neither JAX nor locks.
forks = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:This process:DeprecationWarning")


def indices(batches) -> list[list[int]]:
    return [np.asarray(batch["index"]).tolist() for batch in batches]


def interleaved(parts: list[list]) -> list:
    return [part[k] for k in range(max(map(len, parts))) for part in parts if k < len(part)]


@forks
@pytest.mark.parametrize("n_workers", [1, 2])
def test_workers_split_an_epoch(n_workers):
    expected = indices(in_memory())
    dataset = as_iterable_dataset(in_memory())
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
    dataset = as_iterable_dataset(loader_of(make_loader))
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for one, other in zip(batches, loader_of(make_loader), strict=True):
        assert torch.equal(one["X"].to_dense(), other["X"].to_dense())
        assert one["obs"].equals(other["obs"])


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@forks
@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_stateful_dataloader_goes_on(n_workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")

    def make():
        dataset = as_iterable_dataset(in_memory())
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
    dataset = as_iterable_dataset(in_memory())
    dataset.load_state_dict(loader.state_dict())
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(indices(batches)) == sorted(expected[11:])


@forks
def test_workers_that_stay_agree_on_the_epoch():
    """Also where one had come to the end of its part when the epoch was broken off."""
    dataset = as_iterable_dataset(in_memory())
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
    dataset = as_iterable_dataset(in_memory())
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
