"""Names of rows made unique over all inputs, by the rule of :meth:`anndata.AnnData.obs_names_make_unique`.

Only a hash of 8 bytes a row is held to find repeats, and then a number of 4 bytes a row to tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def hash_names(names: np.ndarray) -> np.ndarray:
    """Return a hash of each name, ``(n,)`` uint64."""
    return pd.util.hash_array(names, categorize=False)


def suffixes(
    hashes: np.ndarray, names_of: Callable[[np.ndarray], Iterable[str]], n_fixed: int = 0
) -> np.ndarray | None:
    """Return the number to append to each name so that none repeats.

    Parameters
    ----------
    hashes
        ``(n_rows,)`` as :func:`hash_names` gives them, in order.
    names_of
        Returns the names of the given rows, which rise.
    n_fixed
        So many hashes stand before those of the rows: names that are taken already.

    Returns
    -------
    numpy.ndarray or None
        ``(n_rows,)`` int32: ``k`` makes ``name`` into ``name-k``, 0 leaves it. None where no name repeats.
    """
    order = np.argsort(hashes, kind="stable")
    ranked = hashes[order]
    again = np.zeros(len(hashes), np.bool_)
    again[order[1:]] = ranked[1:] == ranked[:-1]  # the sort is stable, so the first of each name is not among them
    again = again[n_fixed:]
    rows = np.flatnonzero(again)
    if not len(rows):
        return None
    numbers = np.zeros(len(again), np.int32)
    count: dict[str, int] = {}
    taken: set[str] = set()
    for row, name in zip(rows.tolist(), names_of(rows), strict=True):
        number = count.get(name, 0) + 1
        while f"{name}-{number}" in taken or _among(f"{name}-{number}", ranked):
            number += 1
        count[name] = number
        taken.add(f"{name}-{number}")
        numbers[row] = number
    return numbers


def _among(name: str, ranked: np.ndarray) -> bool:
    value = hash_names(np.array([name], dtype=object))[0]
    place = int(np.searchsorted(ranked, value))
    return place < len(ranked) and bool(ranked[place] == value)


def append_suffixes(names: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the names with their numbers appended."""
    if not numbers.any():
        return names
    return np.array(
        [f"{name}-{k}" if k else name for name, k in zip(names, numbers.tolist(), strict=True)], dtype=object
    )
