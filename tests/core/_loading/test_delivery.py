"""Batches of several parts: partners that are read in the same window, and arrays of a sampler's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annbatch import Loader
from annbatch.abc import Sampler
from annbatch.samplers import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annbatch.types import LoadRequest

N = 30
DENSE = np.arange(N * 3, dtype="f4").reshape(N, 3)
OBS = pd.DataFrame({"number": np.arange(N)}, index=[f"cell {row}" for row in range(N)])


class Mirrored(Sampler):
    """Batches of four rows, each with the rows that lie as far from the end, and their places among the batches."""

    batch_size, shuffle, rows_per_set = 4, False, 2

    def n_batches(self, n_obs: int) -> int:
        return -(-n_obs // 4)

    def validate(self, n_obs: int) -> None:
        pass

    def has_short_batch(self, n_obs: int) -> bool:
        return n_obs % 4 > 0

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        for start in range(0, n_obs, 12):
            rows = np.arange(start, min(start + 12, n_obs))
            splits = [np.arange(a, min(a + 4, len(rows))) for a in range(0, len(rows), 4)]
            yield {
                "requests": np.concatenate([rows, n_obs - 1 - rows]),
                "splits": splits,
                "partners": {"other": [split + len(rows) for split in splits]},
                "extras": {"group": [rows[split[::2]].astype("i4") // 2 for split in splits]},
            }


def check(batch: dict, *, n_obs: int = N) -> None:
    index = batch["index"]
    assert batch["X"].tolist() == DENSE[index].tolist()
    assert batch["obs"]["number"].tolist() == index.tolist()
    other = batch["other"]
    assert other.keys() == {"X", "obs", "var", "index"}
    assert other["index"].tolist() == (n_obs - 1 - index).tolist()
    assert other["X"].tolist() == DENSE[other["index"]].tolist()
    assert other["obs"]["number"].tolist() == other["index"].tolist()
    assert batch["group"].dtype == np.int64
    assert batch["group"].tolist() == (index[::2] // 2).tolist()


@pytest.mark.parametrize("stored", [np.asarray, sp.csr_matrix], ids=["dense", "sparse"])
def test_partners_come_with_their_batch(stored):
    loader = Loader(batch_sampler=Mirrored(), return_index=True, densify=True).add_dataset(stored(DENSE), obs=OBS)
    batches = list(loader)
    for batch in batches:
        check(batch)
    assert np.concatenate([batch["index"] for batch in batches]).tolist() == list(range(N))
    assert loader.stats.rows == 2 * N
    for steps in range(len(batches)):
        read = iter(loader)
        for _ in range(steps):
            next(read)
        loader.load_state_dict(loader.state_dict())
        rest = [batch["index"].tolist() for batch in loader]
        assert rest == [batch["index"].tolist() for batch in batches[steps:]]


@pytest.mark.parametrize("remainder", ["wrap", "pad"])
def test_ranks_fill_a_short_batch_up_with_whole_sets(remainder):
    seen = []
    for rank in range(3):
        sampler = DistributedSampler(Mirrored(), dist_info=lambda rank=rank: (rank, 3), remainder=remainder)
        for batch in Loader(batch_sampler=sampler, return_index=True).add_dataset(DENSE, obs=OBS):
            check(batch)
            assert len(batch["index"]) == 4
            seen.append(batch["index"].tolist())
    assert ([28, 29, 0, 1] if remainder == "wrap" else [28, 29, 28, 29]) in seen


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (
            {"partners": {"X": [np.arange(2)]}},
            "`partners` must have names, other than .*, got 'X'",
        ),
        ({"extras": {"group": []}}, "`extras` must have an array per batch, 1 in all, got 0 of 'group'"),
        ({"partners": {"a": [np.arange(2)]}, "extras": {"a": [np.arange(2)]}}, "different names, got 'a' in both"),
        (
            {"partners": {"a": [np.array([True, False])]}},
            r"`partners\['a'\]` must be one-dimensional arrays of integers",
        ),
        ({"partners": {"a": [np.zeros((2, 1), int)]}}, r"`partners\['a'\]` must be one-dimensional .* 2 dimensions"),
        ({"splits": [np.array([0.0, 1.0])]}, "`splits` must be one-dimensional arrays of integers, got float64"),
        ({"partners": {3: [np.arange(2)]}}, "`partners` must have names, other than .*, got 3"),
        ({"extras": {"": [np.arange(2)]}}, "`extras` must have names, other than .*, got ''"),
        ({"partners": {"a": [np.array([2])]}}, "`splits` must be positions within the 2 requested rows"),
    ],
)
def test_requests_of_wrong_parts_are_refused(more, error):
    class Wrong(Mirrored):
        def _sample(self, n_obs):
            yield {"requests": np.arange(2), "splits": [np.arange(2)], **more}

    with pytest.raises(ValueError, match=error):
        next(iter(Loader(batch_sampler=Wrong()).add_dataset(DENSE)))


@pytest.mark.parametrize(("to", "value"), [(None, 2**63), ("jax", 2**40), ("torch", 2**63)])
def test_integers_of_extras_are_never_cut(to, value):
    if to is not None:
        pytest.importorskip(to, reason=f"{to} is not installed")

    class Wide(Mirrored):
        def _sample(self, n_obs):
            yield {"requests": np.arange(2), "splits": [np.arange(2)], "extras": {"big": [np.array([value])]}}

    with pytest.raises(ValueError, match=rf"`extras\['big'\]` must be integers that int(32|64) holds, got {value}"):
        next(iter(Loader(batch_sampler=Wide(), to=to).add_dataset(DENSE)))
