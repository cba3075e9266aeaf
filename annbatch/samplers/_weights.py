"""Rows drawn by weight, a chunk at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._row_set import RowSet


class WeightedRows:
    """The rows of a set with their weights, cut into chunks of consecutive ones.

    A chunk is drawn by the sum of its weights, then each of its places by the weights within it. The product of the two
    probabilities is a row's share of all the weights, exactly, however large a chunk is.

    Parameters
    ----------
    rows
        The rows.
    weights
        ``(n_obs,)`` float64.
    chunk_size
        Consecutive rows of the set in a chunk; the last may be shorter.

    Raises
    ------
    ValueError
        If no row has a positive weight.
    """

    def __init__(self, rows: RowSet, weights: np.ndarray, chunk_size: int) -> None:
        self.n_obs = rows.n_obs
        self._rows = rows
        self._chunk_size = chunk_size
        of_rows = weights if len(rows) == len(weights) else weights[np.asarray(rows)]
        self._weights = of_rows
        per_chunk = np.add.reduceat(of_rows, np.arange(0, len(of_rows), chunk_size))
        # Chunks without weight are left out, so that no rounding of a drawn number can end in one.
        self._chunks = np.flatnonzero(per_chunk)
        self._ends = np.cumsum(per_chunk[self._chunks])
        if not len(self._chunks):
            raise ValueError(f"`weights` must be positive for a row of the mask, got {len(rows)} rows of weight 0.")

    def draw(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return row numbers: for each entry of ``lengths``, so many drawn from one chunk."""
        found = np.searchsorted(self._ends, rng.random(len(lengths)) * self._ends[-1], side="right")
        chunks = self._chunks[np.minimum(found, len(self._chunks) - 1)]
        if self._chunk_size == 1:
            return self._rows.at(chunks)
        positions = chunks[:, None] * self._chunk_size + np.arange(self._chunk_size)
        beyond = positions >= len(self._rows)
        positions[beyond] = len(self._rows) - 1
        ends = np.cumsum(np.where(beyond, 0.0, self._weights[positions]), axis=1)
        # One search serves all chunks: the i-th one's numbers lie between i and i + 1.
        chunk = np.repeat(np.arange(len(lengths)), lengths)
        shifted = (ends / ends[:, -1:] + np.arange(len(lengths))[:, None]).ravel()
        found = np.searchsorted(shifted, rng.random(len(chunk)) + chunk, side="right") - chunk * self._chunk_size
        last = np.argmax(ends == ends[:, -1:], axis=1)  # with weight: where rounding would end beyond
        return self._rows.at(positions[chunk, np.minimum(found, last[chunk])])
