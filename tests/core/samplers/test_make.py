from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader


@given(batch_size=st.integers(1, 64), chunk_size=st.integers(1, 600), shuffle=st.booleans())
def test_windows_hold_whole_batches_by_default(batch_size: int, chunk_size: int, shuffle: bool) -> None:
    sampler = Loader(batch_size=batch_size, chunk_size=chunk_size, shuffle=shuffle).batch_sampler
    sizes = [sum(len(split) for split in request["splits"]) for request in sampler.sample(200_000)]
    assert all(size % batch_size == 0 for size in sizes[:-1])
    assert sizes[0] <= 96 * chunk_size


@pytest.mark.parametrize(
    ("sizes", "window"),
    [
        ({"batch_size": 100}, 25 * 512),
        ({"batch_size": 4096, "chunk_size": 1}, 4096),
        ({"batch_size": 4096, "chunk_size": 32}, 128 * 32),
        ({}, 32 * 512),
        ({"batch_size": np.int64(4096)}, 32 * 512),
    ],
)
def test_the_window_that_follows_from_other_sizes(sizes: dict[str, int], window: int) -> None:
    request = next(iter(Loader(**sizes).batch_sampler.sample(100_000)))
    assert sum(len(split) for split in request["splits"]) == window


def test_absurd_sizes_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"or `batch_size` 1\.$"):  # as both are prime
        Loader(batch_size=2**31 - 1, chunk_size=1, preload_nchunks=2**61 - 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"batch_size": 100, "preload_nchunks": 32},
            "batch_size 100; `preload_nchunks` could be 25 or 50, or `batch_size` 64",
        ),
        (
            {"batch_size": 100, "chunk_size": 10, "preload_nchunks": 2},
            "batch_size 100; `preload_nchunks` could be 10, or `batch_size` 20",
        ),
        ({"batch_size": 4097}, "batch_size 4097; `preload_nchunks` could be 4097, or `batch_size` 4096"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_some_that_do(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Loader(**sizes)
