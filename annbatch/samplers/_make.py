"""The sampler of a loader, made from its sampling arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._arguments import as_generator, flag
from ._checks import chunks_of_whole_batches
from ._random import RandomSampler
from ._row_set import as_rows
from ._sequential import SequentialSampler

if TYPE_CHECKING:
    from ._base import Sampler
    from ._row_set import RowSet, RowsLike

_MOST_CHUNKS, _MOST_ROWS = 64, 1 << 17  # beyond these, sizes that share no factor would take too much memory
_DEFAULTS: dict[str, Any] = {"chunk_size": 512, "preload_nchunks": 32, "batch_size": 1, "drop_last": False}


def make_sampler(
    batch_sampler: Sampler | None, *, seed: int | None, rows: RowsLike | None = None, **sampling: Any
) -> Sampler:
    """Return the sampler that was given, or make one from the arguments; None means not given.

    Raises
    ------
    ValueError
        If a sampler and sampling arguments were given, or both ``seed`` and ``rng``.
    """
    given = {name: value for name, value in {**sampling, "seed": seed, "rows": rows}.items() if value is not None}
    if batch_sampler is not None:
        if given:
            raise ValueError(
                f"`batch_sampler` excludes the sampling arguments, which it has itself; got {', '.join(given)}, too."
            )
        return batch_sampler
    given["rng"] = as_generator(given.get("rng"), given.pop("seed", None))
    mask = _mask_of(given.pop("rows", None))
    sizes = {**_DEFAULTS, **given}
    if "preload_nchunks" not in given:
        sizes["preload_nchunks"] = _chunks_of_whole_batches(sizes["chunk_size"], sizes["batch_size"])
    if flag(sizes.pop("shuffle", False), "shuffle"):
        return RandomSampler(**sizes).of_rows(mask)
    sizes.pop("rng", None)
    return SequentialSampler(**sizes).of_rows(mask)


def _mask_of(rows: Any) -> slice | RowSet:
    if isinstance(rows, Mapping):
        raise TypeError(
            f"`rows` must be one part of a split, such as split[{next(iter(rows), 'train')!r}], got {rows!r}."
        )
    return as_rows(rows)


def _chunks_of_whole_batches(chunk_size: Any, batch_size: Any) -> int:
    """Return how many chunks make a window of whole batches: as near to the default as they can be.

    Examples
    --------
    >>> (
    ...     _chunks_of_whole_batches(512, 4096),
    ...     _chunks_of_whole_batches(512, 100),
    ...     _chunks_of_whole_batches(1, 4096),
    ... )
    (32, 25, 4096)
    """
    default = int(_DEFAULTS["preload_nchunks"])
    if not all(isinstance(size, int | np.integer) and size > 0 for size in (chunk_size, batch_size)):
        return default  # the sampler refuses the sizes
    step = chunks_of_whole_batches(int(chunk_size), int(batch_size))
    if step > _MOST_CHUNKS and step * chunk_size > _MOST_ROWS:
        return default  # the sampler refuses them, and proposes others
    return step * max(1, round(default / step))
