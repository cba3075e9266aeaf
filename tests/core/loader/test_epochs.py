"""The order of rows over epochs, with samplers of the package and of one's own."""

from __future__ import annotations

import itertools
from copy import copy as copied

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.abc import Sampler
from annbatch.samplers import RandomSampler

from .conftest import MATRIX, check_batch, order, random_matrix, small, stack


def test_one_seed_repeats_and_two_differ():
    assert order(small(seed=1)) == order(small(seed=1)) == order(small(rng=np.random.default_rng(1)))
    assert len({tuple(order(small(seed=seed))) for seed in (1, 2, None, None)}) == 4


def test_the_order_does_not_depend_on_reading_ahead():
    assert order(small(seed=1, prefetch=0)) == order(small(seed=1, prefetch=1)) == order(small(seed=1))


def test_epochs_differ_and_can_be_chosen():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(3)]
    assert loader.epoch == 3
    assert len(set(map(tuple, epochs))) == 3
    loader.set_epoch(1)
    assert loader.epoch == 1
    assert order(loader) == epochs[1]
    assert loader.epoch == 2
    fresh = small(seed=1)
    fresh.set_epoch(2)
    assert order(fresh) == epochs[2]


def test_an_iteration_that_is_left_early_is_not_repeated():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(4)]
    loader.set_epoch(0)
    for epoch in epochs[:3]:
        left = [row for batch in itertools.islice(loader, 3) for row in batch["index"].tolist()]
        assert left == epoch[: len(left)]
    assert loader.epoch == 3
    assert order(loader) == epochs[3]


def test_open_iterators_have_different_epochs():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(3)]
    loader.set_epoch(0)
    pairs = [(one["index"].tolist(), other["index"].tolist()) for one, other in zip(loader, loader, strict=True)]
    for rows, epoch in zip(zip(*pairs, strict=True), epochs, strict=False):
        assert list(itertools.chain.from_iterable(rows)) == epoch
    assert order(loader) == epochs[2]


def test_an_iterator_that_is_not_used_is_no_epoch():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(2)]
    loader.set_epoch(0)
    unused, batches = iter(loader), iter(loader)  # as Lightning does, before and after which it calls `set_epoch`
    loader.set_epoch(0)
    assert [row for batch in batches for row in batch["index"].tolist()] == epochs[0]
    assert [row for batch in unused for row in batch["index"].tolist()] == epochs[1]


def test_a_copy_has_a_position_of_its_own():
    loader = small(seed=1)
    epochs = [order(loader) for _ in range(2)]
    loader.set_epoch(0)
    batches = iter(loader)
    rows = next(batches)["index"].tolist()
    state, twin = loader.state_dict(), copied(loader)
    assert [order(twin), order(twin)] == epochs
    assert loader.state_dict() == state
    assert rows + [row for batch in batches for row in batch["index"].tolist()] == epochs[0]
    assert order(loader) == epochs[1]


def test_lightning_finds_set_epoch_on_the_sampler():
    loader = small(seed=1)
    second = order(loader) and order(loader)
    loader.sampler.set_epoch(1)
    assert order(loader) == second


def test_len_is_known_before_iterating():
    assert len(small()) == 21
    assert len(small(drop_last=True)) == 20
    assert len(Loader(batch_sampler=RandomSampler(5, 4, 10, num_samples=31)).add_dataset(MATRIX)) == 4


# Samplers of one's own -----------------------------------------------------------------------------------------------


class Repeating(Sampler):
    """Written for a sampler's contract of old: no splits, and rows that repeat across datasets."""

    batch_size = 3
    shuffle = True

    def n_batches(self, n_obs):
        return 4

    def validate(self, n_obs):
        pass

    def _sample(self, n_obs):
        yield {"requests": [slice(2, 6), slice(4, 6), slice(0, 1)]}
        yield {"requests": np.array([n_obs - 1, 0, 0, n_obs - 1])}


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_a_sampler_without_splits_works_and_repeats_per_epoch(sparse, prefetch):
    matrices = [random_matrix(i, 8, 6, "f4", sparse=sparse) for i in range(2)]
    loader = Loader(batch_sampler=Repeating(), return_index=True, prefetch=prefetch).add_datasets(matrices)
    batches = list(loader)
    for batch in batches:
        check_batch(batch, stack(matrices))
    rows = [batch["index"].tolist() for batch in batches]
    assert sorted(itertools.chain(*rows[:3])) == [0, 2, 3, 4, 4, 5, 5]
    assert sorted(itertools.chain(*rows[3:])) == [0, 0, 15, 15]
    assert [len(batch) for batch in rows] == [3, 3, 1, 3, 1]
    assert order(loader) != list(itertools.chain(*rows))
    loader.set_epoch(0)
    assert order(loader) == list(itertools.chain(*rows))


def test_splits_may_leave_rows_out_repeat_them_and_be_empty():
    class Given(Repeating):
        def _sample(self, n_obs):
            yield {"requests": [slice(0, 9)], "splits": [np.array([8, 8, 1]), np.array([], dtype=int), np.array([8])]}
            yield {"requests": [], "splits": []}
            yield {"requests": [slice(3, 4)], "splits": [np.array([0])]}

    obs = pd.DataFrame({"name": [str(i) for i in range(203)]})
    loader = Loader(batch_sampler=Given(), return_index=True).add_dataset(MATRIX, obs)
    batches = list(loader)
    assert [batch["index"].tolist() for batch in batches] == [[8, 8, 1], [], [8], [3]]
    assert [batch["obs"]["name"].tolist() for batch in batches] == [["8", "8", "1"], [], ["8"], ["3"]]
    for batch in batches:
        check_batch(batch, MATRIX)


@pytest.mark.parametrize("prefetch", [0, "1GB"])
def test_an_exception_in_a_sampler_surfaces_and_the_loader_goes_on(prefetch):
    class Failing(Repeating):
        fail = True

        def _sample(self, n_obs):
            yield {"requests": [slice(0, 3)]}
            if self.fail:
                raise LookupError("the sampler's own")

    loader = Loader(batch_sampler=Failing(), return_index=True, prefetch=prefetch).add_dataset(MATRIX)
    batches = iter(loader)
    assert sorted(next(batches)["index"].tolist()) == [0, 1, 2]
    with pytest.raises(LookupError, match="the sampler's own"):
        next(batches)
    loader.batch_sampler.fail = False
    assert sorted(order(loader)) == [0, 1, 2]
