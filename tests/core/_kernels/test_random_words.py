"""Random words: the numbers of SplitMix64, whichever of them are asked for."""

from __future__ import annotations

import numpy as np

from annbatch._kernels.random_words import row_seeds

_MASK = (1 << 64) - 1


def oracle(seed: int, number: int) -> int:
    """SplitMix64, in Python's integers: the state after ``number + 1`` steps, mixed."""
    word = (seed + (number + 1) * 0x9E3779B97F4A7C15) & _MASK
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31


def test_they_are_those_of_splitmix64():
    rows = np.array([0, 1, 2, 10**12, 5])
    for key in (0, 1, _MASK, 1234567):
        seeds = row_seeds(np.uint64(key), rows)
        assert seeds.tolist() == [oracle(key, row) for row in rows.tolist()]


def test_the_first_are_those_that_are_published():
    # https://rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64: seed 1234567
    assert row_seeds(np.uint64(1234567), np.arange(3)).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
