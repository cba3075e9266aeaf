"""Checks of arguments that samplers share, and where their randomness comes from."""

from __future__ import annotations

import hashlib

import numpy as np


def check_positive(**values: int) -> None:
    """Raise ``ValueError`` naming the first value below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"`{name}` must be positive, got {value}.")


def check_window(chunk_size: int, preload_nchunks: int, batch_size: int) -> None:
    """Raise ``ValueError`` unless a window divides into whole batches."""
    check_positive(chunk_size=chunk_size, preload_nchunks=preload_nchunks, batch_size=batch_size)
    window = chunk_size * preload_nchunks
    if window % batch_size:
        raise ValueError(
            "`chunk_size * preload_nchunks` must be divisible by batch_size, so that a window is whole batches; "
            f"got {chunk_size} * {preload_nchunks} = {window} and batch_size {batch_size}."
        )


def check_weights(weights: np.ndarray, name: str) -> np.ndarray:
    """Return weights as float64; raise ``ValueError`` unless they are finite, none negative and some positive."""
    checked = np.asarray(weights, dtype=np.float64)
    if checked.ndim != 1:
        raise ValueError(f"`{name}` must have one dimension, got {checked.ndim}.")
    wrong = ~(np.isfinite(checked) & (checked >= 0))
    if wrong.any():
        raise ValueError(f"`{name}` must be finite and not negative, got {checked[wrong][0]}.")
    if not (checked > 0).any():
        raise ValueError(f"`{name}` must have at least one positive weight, got {len(checked)} of 0.")
    return checked


def draw_seed(rng: np.random.Generator | int | None) -> tuple[np.random.Generator, int]:
    """Return a generator and the one integer drawn from it, which is the sampler's seed from then on."""
    generator = np.random.default_rng(rng)
    return generator, int(generator.integers(2**63))


def keyed_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that belongs to a seed and a place in the run, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def digest(array: np.ndarray) -> str:
    """Return a short text that stands for an array's values, in this process and any other."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=12).hexdigest()
