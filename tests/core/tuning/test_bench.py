"""The verdict on measured speeds."""

from __future__ import annotations

import pytest

from annbatch.tuning import Diversity
from annbatch.tuning._bench import Rate, verdict


def rate(chunk_size: int, rows: int, entropy: float | None = None) -> Rate:
    diverse = None if entropy is None else Diversity("kind", 9, entropy, 1.0, chunk_size, 1.0, 1.0)
    return Rate(chunk_size, 1024 // chunk_size, 64, rows, 1.0, 0.5, 0, diverse)


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ([rate(512, 1000), rate(64, 950), rate(16, 500)], 64),
        ([rate(512, 1000, 0.5), rate(64, 900, 0.995), rate(16, 500, 1.0)], 64),
        ([rate(512, 1000, 0.5), rate(64, 900, 0.8)], 64),
        ([rate(512, 1000, 1.0), rate(64, 900, 1.0)], 512),
    ],
    ids=["as fast", "mixed", "none is mixed", "all are mixed"],
)
def test_the_fastest_that_mixes(rates, best):
    told = verdict(rates, "torch")

    assert told.startswith(f"Best: chunk_size={best}, ")
    loader = f"  Loader(batch_size=64, chunk_size={best}, preload_nchunks={1024 // best}, shuffle=True, to='torch')"
    assert told.splitlines()[1] == loader
