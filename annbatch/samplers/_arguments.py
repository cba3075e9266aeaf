"""Checks of arguments that samplers share."""

from __future__ import annotations

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


def check_mask(mask: slice) -> slice:
    """Return ``mask`` with its start filled in; raise ``ValueError`` unless it is a plain forward range."""
    if mask.step not in (None, 1):
        raise ValueError(f"`mask.step` must be 1, got {mask.step}.")
    start = 0 if mask.start is None else mask.start
    if start < 0:
        raise ValueError(f"`mask.start` must be >= 0, got {start}.")
    if mask.stop is not None and start >= mask.stop:
        raise ValueError(f"`mask.start` must be < mask.stop, got {start} and {mask.stop}.")
    return slice(start, mask.stop)


def resolve_mask(mask: slice, n_obs: int) -> tuple[int, int]:
    """Return the rows that ``mask`` means among ``n_obs``; raise ``ValueError`` if it leaves them, or is empty."""
    checked = check_mask(mask)
    stop = n_obs if checked.stop is None else checked.stop
    if stop > n_obs:
        raise ValueError(f"`mask.stop` must be at most the loader's n_obs {n_obs}, got {stop}.")
    if checked.start >= stop:
        raise ValueError(f"`mask.start` must be < the loader's n_obs {n_obs}, got {checked.start}.")
    return checked.start, stop


def draw_seed(rng: np.random.Generator | int | None) -> tuple[np.random.Generator, int]:
    """Return a generator and the one integer drawn from it, which is the sampler's seed from then on."""
    generator = np.random.default_rng(rng)
    return generator, int(generator.integers(2**63))


def keyed_rng(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that belongs to a seed and a place in the run, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
