"""Random generators that are keyed by a seed and a position in the run."""

from __future__ import annotations

import numpy as np

from .._arguments import as_generator

ATTRIBUTES, WINDOWS, SAMPLERS, MIXES, TOKENS, NEIGHBORS = 0, 1, 2, 3, 4, 5  # purposes of keyed generators


def keyed_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator of a seed and a key, independent of the generators of all other keys."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def generator_and_seed(rng: np.random.Generator | int | None) -> tuple[np.random.Generator, int]:
    """Return a generator and an integer drawn from it, which is the sampler's seed from then on."""
    generator = as_generator(rng) or np.random.default_rng()
    return generator, int(generator.integers(2**63))
