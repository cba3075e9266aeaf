"""The rows of a loader as a map-style dataset, in a ``DataLoader``."""

from __future__ import annotations

import numpy as np
import pytest

from annbatch_torch import as_map_dataset

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
data = pytest.importorskip("torch.utils.data", reason="PyTorch is not installed", exc_type=ImportError)

ROWS = [2_999, 4, 4, 17, 1_000, 2]


@pytest.fixture
def dataset(make_loader):
    return as_map_dataset(make_loader("torch", return_index=True))


def check(batch, rows, counts, obs) -> None:
    assert batch["index"].tolist() == rows
    assert batch["X"].layout is torch.sparse_csr
    np.testing.assert_array_equal(batch["X"].to_dense(), counts[rows].toarray())
    assert batch["obs"].index.tolist() == obs.index[rows].tolist()


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")  # PyTorch's, where it unpickles a matrix
@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 4, "sampler": ROWS},
        {"batch_sampler": [ROWS[:4], ROWS[4:]]},
        {"batch_size": None, "sampler": [ROWS[:4], ROWS[4:]]},
        {"batch_size": 4, "sampler": ROWS, "num_workers": 1, "multiprocessing_context": "spawn"},
    ],
    ids=["rows", "batches", "lists of rows", "a worker"],
)
def test_the_sampler_decides(dataset, counts, obs, settings):
    first, second = data.DataLoader(dataset, **settings)
    check(first, ROWS[:4], counts, obs)
    check(second, ROWS[4:], counts, obs)


def test_samplers_and_subsets_of_pytorch(dataset, counts, obs):
    part = data.Subset(dataset, ROWS)
    (batch,) = data.DataLoader(part, batch_size=6)
    check(batch, ROWS, counts, obs)
    seen = [batch["index"] for batch in data.DataLoader(dataset, batch_size=1_000, shuffle=True)]
    assert sorted(np.concatenate(seen)) == list(range(len(obs)))


def test_datasets_around_it_get_single_rows(dataset, counts):
    numbered = data.StackDataset(dataset, range(len(dataset)))
    batch, numbers = next(iter(data.DataLoader(numbered, batch_size=6, sampler=ROWS)))
    assert batch["index"].tolist() == numbers.tolist() == ROWS
    np.testing.assert_array_equal(batch["X"], counts[ROWS].toarray())
    two = data.ConcatDataset([dataset, dataset])
    (batch,) = data.DataLoader(two, batch_size=2, sampler=[4, 4 + len(dataset)])
    np.testing.assert_array_equal(batch["X"], counts[[4, 4]].toarray())
    own = data.DataLoader(dataset, batch_size=6, sampler=ROWS, collate_fn=lambda rows: [row["X"] for row in rows])
    np.testing.assert_array_equal(torch.stack(next(iter(own))), counts[ROWS].toarray())
