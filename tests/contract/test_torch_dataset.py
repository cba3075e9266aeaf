"""A loader as the dataset of a ``DataLoader``."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_workers_are_refused(make_loader):
    dataset = as_iterable_dataset(loader_of(make_loader))
    batches = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    with pytest.raises(ValueError, match=r"`num_workers` must be 0, because the loader reads ahead .* got 1\."):
        next(iter(batches))
