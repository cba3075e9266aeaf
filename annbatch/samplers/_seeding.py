"""The generators that belong to a seed and a place in the run."""

from __future__ import annotations

import numpy as np

_ATTRIBUTES, _WINDOWS, _SAMPLERS = 0, 1, 2  # what a keyed generator is for


def keyed_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that belongs to a seed and a place in the run, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def window_rng(seed: int, epoch: int, window: int) -> np.random.Generator:
    """Return what shuffles the rows of a window that a sampler leaves to the base class."""
    return keyed_rng(seed, epoch, _WINDOWS, window)
