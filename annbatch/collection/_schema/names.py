"""Names of rows made unique over all inputs, by the rule of :meth:`anndata.AnnData.obs_names_make_unique`.

Names are only held for some rows at a time: hashes (8 bytes per row) find repeats, the same hashes sorted (another 8)
tell which names exist, and numbers (4 bytes per row) make repeats unique.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

AT_ONCE = 1 << 18  # rows whose names are held together


def hash_names(names: np.ndarray) -> np.ndarray:
    """Return a hash of each name, ``(n,)`` uint64."""
    return pd.util.hash_array(names, categorize=False)


def suffixes(
    hashes: np.ndarray, names_of: Callable[[np.ndarray], Iterable[np.ndarray]], n_fixed: int = 0
) -> np.ndarray | None:
    """Return the number to append to each name so that none repeats.

    Parameters
    ----------
    hashes
        ``(n_fixed + n_rows,)`` from :func:`hash_names`, in order of the rows.
    names_of
        Returns the names of the given rows, which are ascending, in pieces.
    n_fixed
        Number of leading hashes that belong to existing names, which stay.

    Returns
    -------
    numpy.ndarray or None
        ``(n_rows,)`` int32: ``k`` turns ``name`` into ``name-k``, 0 keeps it. None if no name repeats.
    """
    ranked = np.sort(hashes)
    repeated = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
    if not len(repeated):
        return None
    numbers = np.zeros(len(hashes) - n_fixed, np.int32)
    seen, last = np.zeros(len(repeated), np.bool_), np.zeros(len(repeated), np.int64)
    for start in range(0, len(hashes), AT_ONCE):
        some = hashes[start : start + AT_ONCE]
        group = np.searchsorted(repeated, some).clip(max=len(repeated) - 1)
        rows = np.flatnonzero(repeated[group] == some)
        present, first = np.unique(group[rows], return_index=True)
        rows = np.delete(rows, first[~seen[present]])  # the first of each name keeps it
        seen[present] = True
        rows = rows[rows + start >= n_fixed]
        if len(rows):
            positions = rows + start - n_fixed
            names = np.concatenate(list(names_of(positions)))
            numbers[positions] = _number(names, group[rows], last, ranked)
    return numbers


def _number(names: np.ndarray, group: np.ndarray, last: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """Return the next free number for each name; update ``last``, the highest number of each group of equal names."""
    order = np.argsort(group, kind="stable")
    present, first, count = np.unique(group[order], return_index=True, return_counts=True)
    numbers = np.empty(len(names), np.int64)
    numbers[order] = np.arange(len(names)) - np.repeat(first, count) + np.repeat(last[present], count) + 1
    taken = _among([f"{name}-{k}" for name, k in zip(names, numbers.tolist(), strict=True)], ranked)
    for i in np.flatnonzero(np.isin(present, group[taken])).tolist():
        rows = order[first[i] : first[i] + count[i]]
        numbers[rows] = _free(names[rows[0]], int(last[present[i]]), len(rows), ranked)
    last[present] = numbers[order[first + count - 1]]
    return numbers


def _free(name: str, last: int, count: int, ranked: np.ndarray) -> list[int]:
    """Return the next ``count`` numbers after ``last`` that give a name that no row has."""
    free: list[int] = []
    while len(free) < count:
        candidates = np.arange(last + 1, last + 1 + count)
        free += candidates[~_among([f"{name}-{k}" for k in candidates.tolist()], ranked)].tolist()
        last += count
    return free[:count]


def _among(names: list[str], ranked: np.ndarray) -> np.ndarray:
    """Return which names have their hash in ``ranked``."""
    hashes = hash_names(np.array(names, dtype=object))
    found: np.ndarray = ranked[np.searchsorted(ranked, hashes).clip(max=len(ranked) - 1)] == hashes
    return found


def append_suffixes(names: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the names with their numbers appended."""
    if not numbers.any():
        return names
    return np.array(
        [f"{name}-{k}" if k else name for name, k in zip(names, numbers.tolist(), strict=True)], dtype=object
    )
