"""The rows of each group, and rows that are drawn of groups, many draws at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._permutation import entries_of_orders, hash_below, mixed
from ._row_set import Runs

if TYPE_CHECKING:
    from ._row_set import RowSet

_STEPS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03))  # odd: distinct pairs are distinct words


class GroupRows:
    """The rows of a set, one group after the other.

    Parameters
    ----------
    rows
        Rows that may be drawn.
    codes
        ``(n_obs,)`` number of each row's group; rows of a negative one are left out.
    n_groups
        Number of groups.

    Attributes
    ----------
    counts
        ``(n_groups,)`` int64 rows of each group.
    """

    def __init__(self, rows: RowSet, codes: np.ndarray, n_groups: int) -> None:
        numbers = np.asarray(rows)
        of_rows = codes[numbers]
        there = of_rows >= 0
        if not there.all():
            numbers, of_rows = numbers[there], of_rows[there]
        self.counts = np.bincount(of_rows, minlength=n_groups)
        self._first = np.cumsum(self.counts) - self.counts
        self._runs = Runs.of(numbers[np.argsort(of_rows, kind="stable")])

    @property
    def mean_run(self) -> float:
        """Mean number of consecutive rows, of one group or of neighbours."""
        return len(self._runs) / max(1, len(self._runs.starts))

    def rows(self, groups: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return the rows at ``positions`` among those of ``groups``, int64."""
        return self._runs.at(self._first[groups] + positions)

    def drawn(self, groups: np.ndarray, numbers: np.ndarray, keys: np.ndarray, *, chunk_size: int) -> np.ndarray:
        """Return the row that comes at a place of a random order of each group's rows.

        The rows of a group form a ring, which is cut into chunks of ``chunk_size`` from a random row on. They come in
        random order, except that the first chunk is the first and the rest, which fills no chunk, the last. So each
        row comes once before any comes again, and what comes again follows the last rows in the ring.

        Parameters
        ----------
        groups
            ``(n,)`` groups, each of at least one row.
        numbers
            ``(n,)`` int64 places in the orders, which begin again after the last row.
        keys
            ``(n,)`` uint64; equal keys of a group are one order.
        chunk_size
            Rows per chunk; a smaller group is one chunk.
        """
        counts = self.counts[groups]
        size = np.minimum(chunk_size, counts)
        chunk, within = np.divmod(numbers % counts, size)
        n_others = counts // size - 1
        is_other = (chunk > 0) & (chunk <= n_others)
        others = entries_of_orders(np.where(is_other, chunk - 1, 0), np.maximum(n_others, 1), keys)
        chunk = np.where(is_other, others + 1, chunk)
        first = hash_below(keys ^ _STEPS[1], counts.astype(np.uint64)).astype(np.int64)
        return self.rows(groups, (first + chunk * size + within) % counts)

    def drawn_again(self, groups: np.ndarray, keys: np.ndarray, *, chunk_size: int, n_chunks: int) -> np.ndarray:
        """Return, for each group and key, ``n_chunks`` chunks that begin at rows drawn uniformly, with replacement."""
        counts = np.repeat(self.counts[groups], n_chunks)
        words = mixed(np.repeat(keys, n_chunks) + np.tile(np.arange(n_chunks, dtype=np.uint64), len(keys)) * _STEPS[1])
        first = hash_below(words, counts.astype(np.uint64)).astype(np.int64)
        positions = (first[:, None] + np.arange(chunk_size)) % counts[:, None]
        return self.rows(np.repeat(groups, n_chunks * chunk_size), positions.ravel())


def keys_of(seed: int, *numbers: np.ndarray | int) -> np.ndarray:
    """Return a 64-bit key for each combination of numbers, independent for all seeds."""
    word = mixed(np.array([seed % 2**64], dtype=np.uint64))
    for number in numbers:
        word = mixed(word + np.asarray(number).astype(np.uint64) * _STEPS[0] + _STEPS[1])
    return word


def occurrences(values: np.ndarray) -> np.ndarray:
    """Return how many entries before each one are equal to it.

    Examples
    --------
    >>> occurrences(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(values) else order
    lengths = np.diff(np.append(begins, len(values)))
    found = np.empty(len(values), dtype=np.int64)
    found[order] = np.arange(len(values)) - np.repeat(begins, lengths)
    return found
