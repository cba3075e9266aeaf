"""Any rows of a loader, read as one window of one batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..samplers._seeding import TOKENS
from .epoch import check_rows, read_batches, seed_of_pass, with_neighbors

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..samplers._base import Sampler
    from ..types import LoaderOutput, LoadRequest
    from .datasets import Datasets
    from .delivery import Delivery
    from .resources import Reading


def taken(
    rows: Any, datasets: Datasets, delivery: Delivery, reading: Reading, sampler: Sampler, epoch: int
) -> Generator[LoaderOutput, None, None]:
    """Yield the batch of the given rows; it is planned on the calling thread, so that any number of threads may take.

    Raises
    ------
    TypeError
        If ``rows`` are not row numbers.
    ValueError
        If there is no such row.
    """
    check_rows(datasets)
    numbers = _row_numbers(rows, datasets.n_obs)
    request: LoadRequest = {"requests": numbers, "splits": [np.arange(len(numbers))]}
    requests = with_neighbors(iter([request]), datasets, sampler, epoch)
    seed = partial(seed_of_pass, sampler, epoch, TOKENS)
    return read_batches(requests, datasets, delivery, reading, budget=0, seed=seed)


def _row_numbers(rows: Any, n_obs: int) -> np.ndarray:
    try:
        numbers = np.asarray(rows)
    except (TypeError, ValueError) as error:  # lists of several lengths, tensors on a device
        raise TypeError(f"`rows` must be an array of row numbers in host memory: {error}") from error
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise TypeError(
            "`rows` must be a one-dimensional array of row numbers (of a mask, `np.flatnonzero(mask)`), got "
            f"{numbers.dtype} of shape {numbers.shape}."
        )
    wrong = numbers[(numbers < 0) | (numbers >= n_obs)] if numbers.size else numbers
    if wrong.size:
        raise ValueError(f"`rows` must be numbers of the loader's rows, 0..{n_obs - 1}, got {wrong[0]}.")
    return numbers.astype(np.int64, copy=False)
