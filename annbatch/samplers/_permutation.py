"""Random orders of any size: short ones are drawn, long ones are computed entry by entry."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

DRAWN_UP_TO = 1 << 20
"""Longest order that is drawn: 8 MB and 12 ms per epoch, and all orders are exactly equally likely."""

_ROUNDS = 8  # of the network; see `Keyed`
_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))
_HALF = np.uint64(32)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio: the step of SplitMix64


class Permutation(Protocol):
    """A random order of ``0..n``."""

    def __len__(self) -> int:
        """Return ``n``."""

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the entries at ``positions``, int64."""


class Natural:
    """``0..n`` unchanged."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return ``positions``."""
        return positions


class Drawn:
    """An order that is in memory."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._order = rng.permutation(n)

    def __len__(self) -> int:
        return len(self._order)

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the entries at ``positions``, int64."""
        entries: np.ndarray = self._order[positions]
        return entries


class Keyed:
    """An order whose entries are each computed from position and key; nothing is kept in memory.

    A Feistel network on pairs of residues, as in Black and Rogaway, "Ciphers with arbitrary finite domains" (2002): a
    position is ``left * b + right`` with ``a * b`` just above ``n``; each round adds a keyed hash of one half to the
    other. Values between ``n`` and ``a * b`` are mapped again until they fall below ``n``, which keeps it a
    permutation; less than ``1 / sqrt(n)`` of the positions need that. The hash is the finalizer of SplitMix64 (Steele
    et al. 2014), scaled down by a multiplication instead of a remainder. Four rounds look random to anyone who asks for
    fewer than ``sqrt(n)`` entries (Luby and Rackoff 1988); there are twice as many.

    Parameters
    ----------
    n
        Number of entries, from 2 to ``2**62``.
    rng
        Generator that draws the keys.
    """

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self._n = n
        self._left = math.isqrt(n - 1) + 1
        self._right = -(-n // self._left)
        self._keys = rng.integers(0, 2**64, _ROUNDS, dtype=np.uint64)

    def __len__(self) -> int:
        return self._n

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the entries at ``positions``, int64."""
        entries = self._once(np.asarray(positions, dtype=np.int64))
        while len(outside := np.flatnonzero(entries >= self._n)):
            entries[outside] = self._once(entries[outside])
        return entries

    def _once(self, positions: np.ndarray) -> np.ndarray:
        return _through_network(positions, (np.uint64(self._left), np.uint64(self._right)), self._keys)


def entries_of_orders(positions: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return one entry of each of many orders, as :class:`Keyed` computes them.

    Parameters
    ----------
    positions, lengths
        ``(n,)`` int64; position ``0..length`` in an order of ``0..length``, and its length.
    keys
        ``(n,)`` uint64; equal keys and lengths are the same order.
    """
    left = np.ceil(np.sqrt(lengths)).astype(np.int64)  # exact up to 2**52 rows, and one more would do, too
    left = np.maximum(left, 1).astype(np.uint64)
    sizes = left, (lengths.astype(np.uint64) + left - np.uint64(1)) // left
    rounds = mixed(keys + np.arange(1, _ROUNDS + 1, dtype=np.uint64)[:, None] * _GOLDEN)
    entries = _through_network(np.asarray(positions, dtype=np.int64), sizes, rounds)
    while len(outside := np.flatnonzero(entries >= lengths)):
        some = sizes[0][outside], sizes[1][outside]
        entries[outside] = _through_network(entries[outside], some, rounds[:, outside])
    return entries


def _through_network(
    positions: np.ndarray, sizes: tuple[np.ndarray | np.uint64, np.ndarray | np.uint64], keys: np.ndarray
) -> np.ndarray:
    """Return a permutation of ``0..sizes[0] * sizes[1]`` at ``positions``; ``keys`` has one entry or row per round."""
    left, right = np.divmod(positions.astype(np.uint64), sizes[1])
    for number, key in enumerate(keys):
        # The halves are swapped after each round, and their sizes with them.
        size = sizes[number % 2]
        left += hash_below(right ^ key, size)
        left -= np.where(left >= size, size, np.uint64(0))
        left, right = right, left
    entries: np.ndarray = (left * sizes[1] + right).astype(np.int64)
    return entries


def mixed(words: np.ndarray) -> np.ndarray:
    """Return a hash of each 64-bit word."""
    for shift, multiplier in zip(_SHIFTS, _MULTIPLIERS, strict=False):
        words = (words ^ (words >> shift)) * multiplier
    hashes: np.ndarray = words ^ (words >> _SHIFTS[2])
    return hashes


def hash_below(words: np.ndarray, size: np.ndarray | np.uint64) -> np.ndarray:
    """Return a hash of each word in ``0..size``; ``size`` is at most ``2**32``."""
    hashes: np.ndarray = ((mixed(words) >> _HALF) * size) >> _HALF
    return hashes


def random_order(n: int, rng: np.random.Generator) -> Permutation:
    """Return an order of ``0..n`` that depends on ``rng`` alone; for a large ``n``, it takes no memory."""
    return Drawn(n, rng) if n <= DRAWN_UP_TO else Keyed(n, rng)
