"""A mix of loaders where adapters take a loader."""

from __future__ import annotations

import pickle
from itertools import islice

import numpy as np
import pytest

from annbatch import Loader, mix

# Python from 3.12 on, and JAX where a test imported it, warn of any fork; the children use neither JAX nor locks.
forks = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:This process:DeprecationWarning")


def mixed_of(to: str, *, weights=(1, 3), stop="all", n_obs=(100, 500)):
    loaders = [
        Loader(batch_size=8, chunk_size=4, preload_nchunks=8, shuffle=True, seed=0, to=to, return_index=True)
        for _ in n_obs
    ]
    for loader, n in zip(loaders, n_obs, strict=True):
        loader.add_dataset(np.arange(n, dtype="f4")[:, None])
    return mix(loaders, weights, seed=0, stop=stop)


def found_in(batches) -> list[tuple[int, tuple[int, ...]]]:
    return [(int(batch["source"]), tuple(np.asarray(batch["index"]).tolist())) for batch in batches]


@forks
@pytest.mark.parametrize(("n_workers", "n_obs"), [(1, (100, 500)), (2, (100, 500)), (2, (8, 90))])
@pytest.mark.parametrize("stop", ["first", "all"])
def test_workers_share_a_mix(stop, n_workers, n_obs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    from annbatch_torch import as_iterable_dataset

    mixed, alone = mixed_of("torch", stop=stop, n_obs=n_obs), mixed_of("torch", stop=stop, n_obs=n_obs)
    workers = {"num_workers": n_workers, "multiprocessing_context": "fork"}
    batches = torch.utils.data.DataLoader(as_iterable_dataset(mixed), batch_size=None, **workers)
    for _ in range(2):
        found, expected = found_in(batches), found_in(alone)
        assert len(batches) == len(found)
        assert [source for source, _ in found].count(0) == [source for source, _ in expected].count(0)
        through = 1 if stop == "all" else 0  # the loader that ends the epoch, all of whose batches come
        assert sorted(one for one in found if one[0] == through) == sorted(one for one in expected if one[0] == through)
        if n_workers == 1:
            assert found == expected


@forks
def test_workers_of_an_endless_mix_need_a_batch_of_each_loader():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    from annbatch_torch import as_iterable_dataset

    def batches_of(n_obs):
        dataset = as_iterable_dataset(mixed_of("torch", stop="never", n_obs=n_obs))
        return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context="fork")

    assert len(found_in(islice(batches_of((16, 90)), 90))) == 90
    with pytest.raises(ValueError, match="`num_workers` must be at most 1, the number of batches in loader 0"):
        next(iter(batches_of((8, 90))))


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")  # torchdata calls it
@forks
@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_stateful_dataloader_goes_on_with_a_mix(n_workers):
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
    from annbatch_torch import as_iterable_dataset

    def make():
        workers = {"num_workers": n_workers, "multiprocessing_context": "fork"} if n_workers else {}
        return stateful.StatefulDataLoader(as_iterable_dataset(mixed_of("torch")), batch_size=None, **workers)

    expected = found_in(make())
    for taken in (1, 30, len(expected) - 1):
        batches = make()
        iterator = iter(batches)
        found_in(islice(iterator, taken))
        other = make()
        other.load_state_dict(pickle.loads(pickle.dumps(batches.state_dict())))
        assert found_in(other) == expected[taken:]


@forks
def test_a_state_without_workers_goes_on_with_some():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
    from annbatch_torch import as_iterable_dataset

    mixed = mixed_of("torch", stop="first")
    expected = found_in(mixed)
    mixed.set_epoch(0)
    found = found_in(islice(mixed, 21))
    dataset = as_iterable_dataset(mixed_of("torch", stop="first"))
    dataset.load_state_dict(mixed.state_dict())
    workers = {"num_workers": 2, "multiprocessing_context": "fork"}
    found += found_in(torch.utils.data.DataLoader(dataset, batch_size=None, **workers))
    assert len(found) == len(set(found)) == len(expected)
    assert {one for one in found if one[0] == 0} == {one for one in expected if one[0] == 0}


@pytest.mark.parametrize("stop", ["first", "never"])
def test_a_mix_is_checkpointed_with_jax(stop):
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    from annbatch_jax import CheckpointableIterator

    batches, other = (CheckpointableIterator(mixed_of("jax", stop=stop)) for _ in range(2))
    found_in(islice(batches, 60))
    other.set_state(batches.get_state())
    assert found_in(islice(batches, 40)) == found_in(islice(other, 40))
