"""Shuffled chunks, each once or drawn anew."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.ranges import concatenated_ranges
from ._checks import check_positive, check_weights, digest, keyed_rng, whole
from ._chunk import CHUNKS, ChunkSampler, chunk_lengths
from ._weights import WeightedRows

if TYPE_CHECKING:
    from ..types import LoadRequest
    from ._row_set import RowSet, RowsLike
    from ._window_sampler import Draw


class RandomSampler(ChunkSampler):
    """Reads chunks in random order and shuffles the rows of those that are in memory together.

    Without replacement every row comes exactly once an epoch. With replacement each chunk begins at a row drawn
    uniformly (one that begins near the end goes on at the beginning), and with ``weights`` it is drawn by the weight of
    its rows and each of its places by theirs: a draw is row ``i`` with probability ``weights[i] / weights.sum()``.
    Draws of one chunk are neighbours; with ``chunk_size=1`` all are independent. Numbers come from NumPy alone:
    ``torch.manual_seed`` has no effect.

    Parameters
    ----------
    chunk_size
        Contiguous rows that are read at once; 1 is a shuffle of single rows.
    preload_nchunks
        Chunks that are in memory together, and so shuffled among each other: a window.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    replacement
        Whether chunks are drawn independently of each other, so that rows may repeat.
    num_samples
        Rows per epoch; default, as many as there are.
    weights
        ``(n_obs,)`` how often each row is to come relative to others; rows are then drawn with replacement. Rows of
        weight 0 never come, and are not read.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        The rows to sample from: a slice, a boolean mask, row numbers, or a :class:`RowSet`; default, all. Chunks are
        then made of consecutive rows of the set, and no other row is read.
    rng
        One integer is drawn from it, and is the seed from then on.

    Raises
    ------
    ValueError
        If an argument is out of range, with its name, the rule and the value.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.samplers import RandomSampler
    >>> sampler = RandomSampler(4, 2, 8, rng=np.random.default_rng(0))
    >>> sampler.n_batches(20)
    3
    >>> [len(batch) for request in sampler.sample(20) for batch in request["splits"]]
    [8, 8, 4]
    """

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        replacement: bool = False,
        num_samples: int | None = None,
        weights: np.ndarray | None = None,
        drop_last: bool = False,
        mask: RowsLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(chunk_size, preload_nchunks, batch_size, shuffle=True, drop_last=drop_last, mask=mask, rng=rng)
        self._num_samples = None if num_samples is None else whole(num_samples, "num_samples")
        if self._num_samples is not None:
            check_positive(num_samples=self._num_samples)
        self._weights = None if weights is None else check_weights(weights, "weights")
        self._weights_digest = None if self._weights is None else digest(self._weights)
        self._replacement = bool(replacement) or weights is not None

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if ``n_obs`` rows are too few for the mask or ``num_samples``, or not the weights'."""
        available, n_samples = len(self._rows(n_obs)), self._n_samples(n_obs)
        if self._weights is not None:
            if len(self._weights) != n_obs:
                raise ValueError(
                    f"`weights` must have one entry a row of the loader ({n_obs}), got {len(self._weights)}."
                )
            return
        if n_samples <= available:
            return
        if not self._replacement:
            raise ValueError(
                f"`num_samples` must be at most the {available} rows to draw from without replacement, got {n_samples}."
            )
        if self._chunk_size > available:
            raise ValueError(
                f"`chunk_size` must be at most the {available} rows to draw from where num_samples {n_samples} is "
                f"more, got {self._chunk_size}."
            )

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for two samplers to make the same batches."""
        return super().identity() | {
            "replacement": self._replacement,
            "num_samples": self._num_samples,
            "weights": self._weights_digest,
        }

    def _n_samples(self, n_obs: int) -> int:
        return super()._n_samples(n_obs) if self._num_samples is None else self._num_samples

    def _open(self, n_obs: int, epoch: int) -> Draw:
        if not self._replacement:
            return super()._open(n_obs, epoch)
        rows = self._rows(n_obs)
        if self._weights is None:
            return partial(self._drawn, rows, epoch)
        return partial(self._weighted, self._weighted_rows(rows), epoch)

    def _drawn(self, rows: RowSet, epoch: int, window: int, n_rows: int) -> LoadRequest:
        """Return chunks that begin anywhere, ``n_rows`` in all."""
        rng = keyed_rng(self._draw_seed(), epoch, CHUNKS, window)
        lengths = chunk_lengths(n_rows, self._chunk_size)
        positions = concatenated_ranges(rng.integers(len(rows), size=len(lengths)), lengths)
        return self._request(rows.at(positions % len(rows)), epoch, window, n_rows)

    def _weighted(self, rows: WeightedRows, epoch: int, window: int, n_rows: int) -> LoadRequest:
        """Return rows drawn by their weights, from as few chunks as ``n_rows`` fill."""
        rng = keyed_rng(self._draw_seed(), epoch, CHUNKS, window)
        return self._request(rows.draw(chunk_lengths(n_rows, self._chunk_size), rng), epoch, window, n_rows)

    def _weighted_rows(self, rows: RowSet) -> WeightedRows:
        """Return the rows with their weights, made once: it takes time in proportion to their number."""
        known = self.__dict__.get("_known_weights")
        if known is None or known[0] is not self._mask or known[1].n_obs != rows.n_obs:
            assert self._weights is not None
            known = self._known_weights = (self._mask, WeightedRows(rows, self._weights, self._chunk_size))
        return known[1]
