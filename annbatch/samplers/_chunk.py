"""Chunks of contiguous rows, each once: the base class of RandomSampler and SequentialSampler."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._arguments import flag
from .._plan.ranges import split_every
from .._plan.window_rows import n_requested
from ._permutation import Natural, Permutation, random_order
from ._seeding import keyed_rng
from ._window_sampler import WindowSampler

if TYPE_CHECKING:
    from ..types import LoadRequest
    from ._row_set import RowSet, RowsLike
    from ._window_sampler import Draw

CHUNKS, ROWS = 0, 1  # purposes of keyed generators: the order of chunks, and of rows within a window


class ChunkSampler(WindowSampler):
    """Reads chunks of contiguous rows, in order or shuffled; the name that older programs use.

    Prefer :class:`SequentialSampler` to ``shuffle=False``, and :class:`RandomSampler` to ``shuffle=True``.

    Parameters
    ----------
    chunk_size
        Contiguous rows per chunk.
    preload_nchunks
        Chunks per window: those that are in memory together, and shuffled among each other.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    shuffle
        Whether chunks, and rows within a window, are shuffled.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        Rows to sample from: a slice, a boolean mask, row numbers, or a :class:`RowSet`; default, all.
    rng
        Generator or seed; one integer is drawn from it now, and is the sampler's seed from then on.

    Examples
    --------
    >>> from annbatch.samplers import ChunkSampler
    >>> [request["requests"] for request in ChunkSampler(2, 2, 4).sample(5)]
    [[slice(0, 2, None), slice(2, 4, None)], [slice(4, 5, None)]]
    """

    _first: int = 0
    """Rows that are left out at the beginning of the mask; see `starting_late`."""

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        mask: RowsLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        super().__init__(chunk_size, preload_nchunks, batch_size, drop_last=drop_last, mask=mask, rng=rng)
        self._shuffle = flag(shuffle, "shuffle")

    @property
    def shuffle(self) -> bool:
        """Whether chunks, and rows within a window, are shuffled."""
        return self._shuffle

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if ``n_obs`` rows are too few for the mask."""
        self._rows(n_obs)

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        return super().identity() | {"shuffle": self._shuffle} | ({"seed": self.order_seed()} if self._shuffle else {})

    def starting_late(self, n_obs: int) -> Self:
        """Return a copy that leaves out the first rows instead of the last ones that fill no batch."""
        made = copy(self)
        made._first = self._n_samples(n_obs) % self._batch_size
        return made

    def _n_samples(self, n_obs: int) -> int:
        return len(self._rows(n_obs)) - self._first

    def _open(self, n_obs: int, epoch: int) -> Draw:
        rows = self._rows(n_obs)
        n_chunks = -(-(len(rows) - self._first) // self._chunk_size)
        order: Permutation = Natural(n_chunks)
        if self._shuffle:
            order = random_order(n_chunks, keyed_rng(self.order_seed(), epoch, CHUNKS))
        return partial(self._draw, rows, order, epoch)

    def _draw(self, rows: RowSet, order: Permutation, epoch: int, window: int, n_rows: int) -> LoadRequest:
        """Return the next chunks in the order.

        Where ``chunk_size`` does not divide the rows, the short chunk is read last, so that every window but the last
        divides into whole batches. Its rows depend on the order: chunks after it move up.
        """
        first, chunk_size = window * self._preload_nchunks, self._chunk_size
        chunks = order.at(np.arange(first, min(first + self._preload_nchunks, len(order))))
        if chunk_size == 1:  # single rows: an array is faster than many slices
            return self._request(rows.at(self._first + chunks), epoch, window, n_rows)
        last = order.at(np.array([len(order) - 1]))
        short = (len(rows) - self._first) % chunk_size or chunk_size
        starts = self._first + chunks * chunk_size - np.where(chunks > last, chunk_size - short, 0)
        lengths = np.where(chunks == last, short, chunk_size)
        return self._request(rows.stretches(starts, lengths), epoch, window, n_rows)

    def _request(self, requests: list[slice] | np.ndarray, epoch: int, window: int, n_rows: int) -> LoadRequest:
        """Return the rows of a window with ``n_rows`` of them in batches.

        The last window is read in full even if ``num_samples`` or ``drop_last`` cuts its chunks: the rows that are left
        out are then drawn from all of its rows. They are not equally likely: the last of every ``chunk_size`` rows are
        never in the short chunk, which is always in the last window, so that they are left out less often.
        """
        order = np.arange(n_requested(requests))
        if self._shuffle:
            keyed_rng(self.order_seed(), epoch, ROWS, window).shuffle(order)
        return {"requests": requests, "splits": split_every(order[:n_rows], self._batch_size)}


def chunk_lengths(n_rows: int, chunk_size: int) -> np.ndarray:
    """Return the lengths of the fewest chunks that hold ``n_rows``: all ``chunk_size``, except perhaps the last."""
    full, rest = divmod(n_rows, chunk_size)
    return np.array([chunk_size] * full + ([rest] if rest else []), dtype=np.int64)
