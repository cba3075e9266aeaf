"""Assignment of rows, or of whole groups of them, to the parts of a split."""

from __future__ import annotations

import numpy as np


def assign_rows(strata: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the part of each row: parts have the shares ``targets`` of each stratum, rounded by largest remainder."""
    part_of = np.empty(len(strata), dtype=np.int64)
    order = np.lexsort((rng.random(len(strata)), strata))
    counts = np.bincount(strata)
    for start, count in zip((np.cumsum(counts) - counts).tolist(), counts.tolist(), strict=True):
        exact = targets * count
        sizes = np.floor(exact + 1e-9).astype(np.int64)
        sizes[np.argsort(sizes - exact, kind="stable")[: count - sizes.sum()]] += 1
        part_of[order[start : start + count]] = np.repeat(np.arange(len(targets)), sizes)
    return part_of


def assign_groups(
    groups: np.ndarray, strata: np.ndarray, targets: np.ndarray, *, n_parts: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the part of each group: largest first, each goes where it brings the shares of labels nearest targets."""
    counts = np.zeros((groups.max(initial=-1) + 1, strata.max(initial=0) + 1))
    np.add.at(counts, (groups, strata), 1)
    if len(counts) < n_parts:
        raise ValueError(f"`groupby` must have a group for each of the {n_parts} parts, got {len(counts)} groups.")
    counts /= np.maximum(counts.sum(axis=0), 1)  # so that a rare label counts as much as a frequent one
    lacking = np.outer(targets, np.ones(counts.shape[1]))
    part_of = np.empty(len(counts), dtype=np.int64)
    empty = set(range(n_parts))
    order = np.lexsort((rng.random(len(counts)), -counts.sum(axis=1)))
    for left, group in zip(range(len(order), 0, -1), order.tolist(), strict=True):
        # Relative to a part's size: the deficit of a large part would otherwise hide the excess of a small one.
        worse = ((lacking - counts[group]) ** 2 - lacking**2).sum(axis=1) / targets
        allowed = sorted(empty) if left <= len(empty) else range(len(targets))
        part = min(allowed, key=lambda part: float(worse[part]))
        part_of[group] = part
        lacking[part] -= counts[group]
        empty.discard(part)
    return part_of
