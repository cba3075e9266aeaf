"""Random chunks, with or without replacement, and rows drawn by weight."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._arguments import flag
from .._plan.ranges import as_slices, concatenated_ranges
from ._checks import check_positive, check_weights, digest, whole
from ._chunk import CHUNKS, ChunkSampler, chunk_lengths
from ._seeding import keyed_rng

if TYPE_CHECKING:
    from ..types import LoadRequest
    from ._row_set import RowSet, RowsLike
    from ._window_sampler import Draw


class RandomSampler(ChunkSampler):
    """Reads chunks in random order and shuffles the rows of those that are in memory together.

    Without replacement, every row comes exactly once per epoch. With replacement, each chunk begins at a row that is
    drawn uniformly, and wraps around at the end. With ``weights``, a chunk is drawn by the sum of its weights, then its
    rows by their own: each draw is row ``i`` with probability ``weights[i] / weights.sum()``. Draws from one chunk are
    neighbours; with ``chunk_size=1`` all draws are independent. Randomness comes from NumPy alone:
    ``torch.manual_seed`` has no effect.

    Parameters
    ----------
    chunk_size
        Contiguous rows per chunk; 1 shuffles single rows.
    preload_nchunks
        Chunks per window: those that are in memory together, and shuffled among each other.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    replacement
        Whether chunks are drawn independently of each other, so that rows may repeat.
    num_samples
        Rows per epoch; default, the number of rows in ``mask``.
    weights
        ``(n_obs,)`` relative frequency of each row; rows are then drawn with replacement. Rows of weight 0 are neither
        drawn nor read.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        Rows to sample from: a slice, a boolean mask, row numbers, or a :class:`RowSet`; default, all. Chunks are
        then consecutive rows of the set, and no other row is read.
    rng
        Generator or seed; one integer is drawn from it now, and is the sampler's seed from then on.

    Raises
    ------
    ValueError
        If an argument is out of range.

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
        self._replacement = flag(replacement, "replacement") or weights is not None

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if ``n_obs`` rows are too few, or not as many as there are weights."""
        available, n_samples = len(self._rows(n_obs)), self._n_samples(n_obs)
        if self._weights is not None:
            if len(self._weights) != n_obs:
                raise ValueError(
                    f"`weights` must have one entry per row of the loader ({n_obs}), got {len(self._weights)}."
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
        """Return a description that is equal for two samplers if they make the same batches."""
        return super().identity() | {
            "replacement": self._replacement,
            "num_samples": self._num_samples,
            "weights": self._weights_digest,
        }

    def for_ranks(self, n_ranks: int) -> Self:
        if self._num_samples is None:
            return self
        made = copy(self)
        made._num_samples = self._num_samples * n_ranks
        return made

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
        """Return chunks that begin at any row, ``n_rows`` in total."""
        rng = keyed_rng(self.order_seed(), epoch, CHUNKS, window)
        lengths = chunk_lengths(n_rows, self._chunk_size)
        positions = concatenated_ranges(rng.integers(len(rows), size=len(lengths)), lengths)
        drawn = rows.at(positions % len(rows))
        requests = drawn if self._chunk_size == 1 else as_slices(drawn, lengths)  # of single rows, slices are slow
        return self._request(requests, epoch, window, n_rows)

    def _weighted(self, rows: WeightedRows, epoch: int, window: int, n_rows: int) -> LoadRequest:
        """Return ``n_rows`` rows drawn by weight, from as few chunks as hold that many."""
        rng = keyed_rng(self.order_seed(), epoch, CHUNKS, window)
        return self._request(rows.draw(chunk_lengths(n_rows, self._chunk_size), rng), epoch, window, n_rows)

    def _weighted_rows(self, rows: RowSet) -> WeightedRows:
        """Return the rows with their weights; prepared once per mask, which takes time for many rows."""
        known = self.__dict__.get("_known_weights")
        if known is None or known[0] is not self._mask or known[1].n_obs != rows.n_obs:
            assert self._weights is not None
            known = self._known_weights = (self._mask, WeightedRows(rows, self._weights, self._chunk_size))
        return known[1]


class WeightedRows:
    """The rows of a set with their weights, cut into chunks of consecutive rows.

    A chunk is drawn by the sum of its weights, then rows of it by their own. The product of the two probabilities is
    exactly a row's share of all weights, whatever the size of chunks.

    Parameters
    ----------
    rows
        Rows to draw from.
    weights
        ``(n_obs,)`` float64.
    chunk_size
        Consecutive rows of the set per chunk; the last chunk may be shorter.

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
        # Without chunks of weight 0, in which the rounding of a drawn number could end.
        self._chunks = np.flatnonzero(per_chunk)
        self._ends = np.cumsum(per_chunk[self._chunks])
        if not len(self._chunks):
            raise ValueError(f"`weights` must be positive for a row of the mask, got {len(rows)} rows of weight 0.")

    def draw(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return row numbers: for each entry of ``lengths``, that many drawn from one chunk."""
        found = np.searchsorted(self._ends, rng.random(len(lengths)) * self._ends[-1], side="right")
        chunks = self._chunks[np.minimum(found, len(self._chunks) - 1)]
        if self._chunk_size == 1:
            return self._rows.at(chunks)
        positions = chunks[:, None] * self._chunk_size + np.arange(self._chunk_size)
        beyond = positions >= len(self._rows)
        positions[beyond] = len(self._rows) - 1
        ends = np.cumsum(np.where(beyond, 0.0, self._weights[positions]), axis=1)
        # One search for all chunks: the numbers of chunk i are between i and i + 1.
        chunk = np.repeat(np.arange(len(lengths)), lengths)
        shifted = (ends / ends[:, -1:] + np.arange(len(lengths))[:, None]).ravel()
        found = np.searchsorted(shifted, rng.random(len(chunk)) + chunk, side="right") - chunk * self._chunk_size
        last = np.argmax(ends == ends[:, -1:], axis=1)  # with weight, in case rounding ends beyond it
        return self._rows.at(positions[chunk, np.minimum(found, last[chunk])])
