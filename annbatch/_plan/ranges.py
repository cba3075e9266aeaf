"""Ranges of integers, split and concatenated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def split_every(array: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut an array into views of ``size`` entries; the last may be shorter."""
    return [array[start : start + size] for start in range(0, len(array), size)]


def concatenated_ranges(starts: Sequence[int] | np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return ``arange(start, start + length)`` for each pair, concatenated, as int64."""
    starts, lengths = np.asarray(starts, dtype=np.int64), np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total, dtype=np.int64)


def as_slices(rows: np.ndarray, lengths: np.ndarray) -> list[slice]:
    """Return rows as slices of consecutive ones, each within one of the parts of ``lengths`` rows."""
    edges = np.union1d(np.cumsum(lengths), np.flatnonzero(np.diff(rows) != 1) + 1)
    first = rows[np.concatenate([[0], edges[:-1]])]
    return [slice(a, a + n) for a, n in zip(first.tolist(), np.diff(edges, prepend=0).tolist(), strict=True)]


def item_size(shape: tuple[int, ...]) -> int:
    """Return the number of elements in one item along the first axis."""
    return math.prod(shape[1:])
