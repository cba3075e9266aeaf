"""The order of a collection's rows: each row has a key, and rows are sorted by key.

**Why this is a uniform permutation.** Every row draws a key of 64 random bits, independently of all others. Such keys
come in any order with equal probability, so that every permutation is as likely as any other: no blocks, no neighbours
that stay together. Rows that happen to draw the same key (two of 10^8 rows: once in 3,700 runs) draw again.

**Why it depends on the seed alone.** A row's key is a function of the seed and the row's number (Philox, a
counter-based generator: Salmon et al., SC11), so that any worker can compute any row's key, in any order. Buckets are
ranges of keys: with more or less memory, the same order is cut at other places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

_LANES = 4  # Philox yields four 64-bit numbers per counter


class Order(Protocol):
    """An order of rows, by key; ties go by row number, in a shuffled order after further draws."""

    @property
    def span(self) -> int:
        """One more than the largest key."""

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return the keys of rows ``start:stop``, ``(n,)`` uint64."""

    def arrange(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the order of rows with these keys and row numbers, as positions in both."""


def philox(seed: int, draw: int, start: int, stop: int) -> np.ndarray:
    """Return random numbers ``start:stop`` of a stream, ``(n,)`` uint64.

    Parameters
    ----------
    seed
        Seed, below 2**64.
    draw
        Number of a stream of this seed.
    """
    first = start // _LANES
    bits = np.random.Philox(key=np.array([seed, draw], np.uint64), counter=np.array([first, 0, 0, 0], np.uint64))
    return bits.random_raw(stop - first * _LANES)[start - first * _LANES :]


@dataclass(frozen=True, slots=True)
class ShuffledOrder:
    """A uniformly random order, a function of the seed alone."""

    seed: int
    span: int = 2**64

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return the keys of rows ``start:stop``."""
        return philox(self.seed, 0, start, stop) >> np.uint64(64 - (self.span.bit_length() - 1))

    def arrange(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the order of the rows."""
        order = np.lexsort((rows, keys)) if not _ascending(rows) else np.argsort(keys, kind="stable")
        draw = 1
        tied = _tied(keys[order])
        if not tied.any():
            return order
        drawn = [keys]
        while tied.any():
            again = np.zeros(len(keys), np.uint64)
            for position in order[tied].tolist():
                row = int(rows[position])
                again[position] = philox(self.seed, draw, row, row + 1)[0]
            drawn.append(again)
            order = np.lexsort((rows, *reversed(drawn)))
            tied = _tied(*(key[order] for key in drawn))
            draw += 1
        return order


def _ascending(rows: np.ndarray) -> bool:
    return bool((rows[1:] > rows[:-1]).all())


def _tied(*keys: np.ndarray) -> np.ndarray:
    """Return whether each position has a neighbour with equal keys."""
    same = np.ones(max(0, len(keys[0]) - 1), np.bool_)
    for key in keys:
        same &= key[1:] == key[:-1]
    tied = np.zeros(len(keys[0]), np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    return tied


@dataclass(frozen=True, slots=True)
class InputOrder:
    """The order of the inputs."""

    span: int

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return the row numbers."""
        return np.arange(start, stop, dtype=np.uint64)

    def arrange(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the order of the rows."""
        return np.argsort(keys, kind="stable")


@dataclass(frozen=True, slots=True, eq=False)
class GivenOrder:
    """An order computed beforehand: row ``i`` goes to ``positions[i]``."""

    positions: np.ndarray

    @property
    def span(self) -> int:
        """The number of rows."""
        return len(self.positions)

    def keys(self, start: int, stop: int) -> np.ndarray:
        """Return the rows' positions."""
        return self.positions[start:stop].astype(np.uint64)

    def arrange(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the order of the rows."""
        return np.argsort(keys, kind="stable")
