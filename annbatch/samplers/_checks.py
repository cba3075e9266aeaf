"""Checks of arguments that samplers share."""

from __future__ import annotations

import hashlib
from math import gcd, isqrt
from typing import Any

import numpy as np

from .._arguments import in_words
from .._arguments import whole as whole

_MOST_TRIED = 1 << 20  # divisors, so that absurd sizes are refused at once; windows of 10^12 rows need no more


def check_positive(**values: int) -> None:
    """Raise ``ValueError`` naming the first value below 1."""
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"`{name}` must be positive, got {value}.")


def epoch_number(value: Any) -> int:
    """Return the argument ``epoch`` as a Python int; raise ``TypeError`` or ``ValueError`` if it is none."""
    epoch = whole(value, "epoch")
    if epoch < 0:
        raise ValueError(f"`epoch` must not be negative, got {epoch}.")
    return epoch


def check_window(chunk_size: int, preload_nchunks: int, batch_size: int) -> None:
    """Raise ``ValueError`` unless a window divides into whole batches, ``TypeError`` unless all are integers."""
    chunk_size, preload_nchunks = whole(chunk_size, "chunk_size"), whole(preload_nchunks, "preload_nchunks")
    batch_size = whole(batch_size, "batch_size")
    check_positive(chunk_size=chunk_size, preload_nchunks=preload_nchunks, batch_size=batch_size)
    window = chunk_size * preload_nchunks
    if window % batch_size:
        raise ValueError(
            "`chunk_size * preload_nchunks` must be divisible by batch_size, so that a window is whole batches; "
            f"got {chunk_size} * {preload_nchunks} = {window} and batch_size {batch_size}; "
            f"{_fitting(chunk_size, preload_nchunks, batch_size)}."
        )


def chunks_of_whole_batches(chunk_size: int, batch_size: int) -> int:
    """Return the least number of chunks that make whole batches."""
    return batch_size // gcd(chunk_size, batch_size)


def _fitting(chunk_size: int, preload_nchunks: int, batch_size: int) -> str:
    """Return the nearest numbers of chunks, and the nearest smaller batch size, that make whole batches.

    >>> _fitting(512, 32, 100)
    '`preload_nchunks` could be 25 or 50, or `batch_size` 64'
    """
    step = chunks_of_whole_batches(chunk_size, batch_size)
    less, more = preload_nchunks // step * step, -(-preload_nchunks // step) * step
    chunks = f"{less} or {more}" if less else f"{more}"
    window = chunk_size * preload_nchunks
    few = (size for size in range(1, min(isqrt(window), _MOST_TRIED) + 1) if window % size == 0)
    smaller = max(size for pair in few for size in (pair, window // pair) if size <= batch_size)
    return f"`preload_nchunks` could be {chunks}, or `batch_size` {smaller}"


def check_weights(weights: np.ndarray, name: str) -> np.ndarray:
    """Return weights as float64, the largest 1; raise ``ValueError`` unless finite, none negative and some positive."""
    try:
        checked = np.array(weights, dtype=np.float64)  # a copy: later changes must not reach it
    except (TypeError, ValueError) as error:
        raise TypeError(f"`{name}` must be an array of numbers, got {in_words(weights)}.") from error
    if checked.ndim != 1:
        raise ValueError(f"`{name}` must have one dimension, got {checked.ndim}.")
    wrong = ~(np.isfinite(checked) & (checked >= 0))
    if wrong.any():
        raise ValueError(f"`{name}` must be finite and not negative, got {checked[wrong][0]}.")
    if not (checked > 0).any():
        raise ValueError(f"`{name}` must have at least one positive weight, got {len(checked)} of 0.")
    checked /= checked.max()  # so that no sum overflows
    return checked


def digest(array: np.ndarray) -> str:
    """Return a short hash of an array's values, the same in every process."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=12).hexdigest()


def digest_of_codes(codes: np.ndarray) -> str:
    """Return a short hash of integers from -1 on, at a byte each if they are few."""
    return digest(codes.astype(np.min_scalar_type(-1 - int(codes.max(initial=0))).newbyteorder("<")))
