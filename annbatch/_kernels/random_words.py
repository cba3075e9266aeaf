"""Random numbers that are a function of a seed and a number: no state, so any thread may draw any of them.

The ``number``-th output of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import inner, kernel

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_ONE, _30, _27, _31, _32 = np.uint64(1), np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@inner
def random_word(seed: Any, number: Any) -> Any:
    """Return 64 random bits of a seed (uint64) and a number."""
    word = np.uint64(seed) + (np.uint64(number) + _ONE) * _STEP
    word = (word ^ (word >> _30)) * _FIRST
    word = (word ^ (word >> _27)) * _SECOND
    return word ^ (word >> _31)


@inner
def random_below(seed: Any, number: Any, n: int) -> Any:
    """Return a random integer in ``0..n``, ``n`` excluded and far below ``2**32``, so that each is as likely."""
    return np.int64(((random_word(seed, number) >> _32) * np.uint64(n)) >> _32)


@kernel
def row_seeds(key: Any, rows: np.ndarray) -> np.ndarray:
    """Return the seed of each row: uint64, a function of the key (uint64) and the row's number."""
    seeds = np.empty(rows.size, np.uint64)
    for i in range(rows.size):
        seeds[i] = random_word(key, rows[i])
    return seeds
