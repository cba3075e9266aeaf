"""The sampler of a loader, made from its sampling arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._random import RandomSampler
from ._sequential import SequentialSampler

if TYPE_CHECKING:
    from ._base import Sampler

_DEFAULTS = {"chunk_size": 512, "preload_nchunks": 32, "batch_size": 1, "drop_last": False}


def make_sampler(batch_sampler: Sampler | None, *, seed: int | None, **sampling: Any) -> Sampler:
    """Return the sampler that was given, or make one from the arguments; None means not given.

    Raises
    ------
    ValueError
        If a sampler and sampling arguments were given, or both ``seed`` and ``rng``.
    """
    given = {name: value for name, value in {**sampling, "seed": seed}.items() if value is not None}
    if batch_sampler is not None:
        if given:
            raise ValueError(
                f"`batch_sampler` excludes the sampling arguments, which it has itself; got {', '.join(given)}, too."
            )
        return batch_sampler
    if seed is not None and "rng" in given:
        raise ValueError(f"`seed` excludes rng, got both: seed={seed}.")
    if seed is not None:
        given["rng"] = np.random.default_rng(given.pop("seed"))
    if given.pop("shuffle", False):
        return RandomSampler(**{**_DEFAULTS, **given})
    given.pop("rng", None)
    return SequentialSampler(**{**_DEFAULTS, **given})
