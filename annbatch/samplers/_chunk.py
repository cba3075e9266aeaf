"""Contiguous chunks, some in memory at a time: what RandomSampler and SequentialSampler have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._plan import n_requested, split_every
from ..abc import Sampler
from ._arguments import check_mask, check_positive, check_window, draw_seed, keyed_rng, resolve_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..types import LoadRequest

_CHUNKS, _ROWS = 0, 1  # what a keyed generator is for: the order of chunks, or of rows within a window


class ChunkSampler(Sampler):
    """Reads chunks of contiguous rows, in order or shuffled; the spelling of older programs.

    ``shuffle=False`` is :class:`SequentialSampler`, ``shuffle=True`` is :class:`RandomSampler`, which say more.

    Parameters
    ----------
    chunk_size
        Contiguous rows that are read at once.
    preload_nchunks
        Chunks that are in memory together, and so shuffled among each other: a window.
    batch_size
        Rows per batch; must divide ``chunk_size * preload_nchunks``.
    shuffle
        Whether chunks, and rows within a window, are shuffled.
    drop_last
        Whether a last batch of fewer than ``batch_size`` rows is left out.
    mask
        The range of rows to sample from; default, all.
    rng
        One integer is drawn from it, and is the seed from then on.

    Examples
    --------
    >>> from annbatch.samplers import ChunkSampler
    >>> [request["requests"] for request in ChunkSampler(2, 2, 4).sample(5)]
    [[slice(0, 2, None), slice(2, 4, None)], [slice(4, 5, None)]]
    """

    _replacement = False
    _num_samples: int | None = None

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        mask: slice | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        check_window(chunk_size, preload_nchunks, batch_size)
        self._chunk_size = chunk_size
        self._preload_nchunks = preload_nchunks
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._mask = check_mask(slice(0, None) if mask is None else mask)
        self._rng, self._seed = draw_seed(rng)

    @property
    def batch_size(self) -> int:
        """Rows per batch."""
        return self._batch_size

    @property
    def shuffle(self) -> bool:
        """Whether chunks, and rows within a window, are shuffled."""
        return self._shuffle

    def n_batches(self, n_obs: int) -> int:
        """Return the number of batches of one epoch over ``n_obs`` rows."""
        total = self._n_samples(n_obs)
        return total // self._batch_size if self._drop_last else -(-total // self._batch_size)

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if ``n_obs`` rows are too few for the mask or for ``num_samples``."""
        start, stop = resolve_mask(self._mask, n_obs)
        total, chunk_size = self._n_samples(n_obs), self._chunk_size
        if total > stop - start and not self._replacement:
            raise ValueError(
                f"`num_samples` must be at most the {stop - start} rows to draw from without replacement, got {total}."
            )
        if total > stop - start and chunk_size > stop - start:
            raise ValueError(
                f"`chunk_size` must be at most the {stop - start} rows to draw from where num_samples {total} is more, "
                f"got {chunk_size}."
            )

    def _n_samples(self, n_obs: int) -> int:
        start, stop = resolve_mask(self._mask, n_obs)
        return stop - start if self._num_samples is None else self._num_samples

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        start, stop = resolve_mask(self._mask, n_obs)
        total = self._n_samples(n_obs)
        if self._drop_last:
            total -= total % self._batch_size
        window_size = self._chunk_size * self._preload_nchunks
        epoch = self.epoch  # of the whole pass, also if `set_epoch` is called under way
        order = self._chunk_order(stop - start, epoch)
        for window in range(-(-total // window_size)):
            n_rows = min(window_size, total - window * window_size)
            chunks: list[slice] | np.ndarray
            if self._replacement:
                chunks = self._drawn_chunks(start, stop, n_rows, keyed_rng(self._seed, epoch, _CHUNKS, window))
            else:
                first = window * self._preload_nchunks
                chunks = self._dealt_chunks(start, stop, order[first : first + self._preload_nchunks], order[-1])
            # A last window is read in full where the chunks are cut by `num_samples` or `drop_last`: which of its rows
            # are left out is then as random as the rest.
            read = n_requested(chunks)
            rows = np.arange(read)
            if self._shuffle:
                keyed_rng(self._seed, epoch, _ROWS, window).shuffle(rows)
            yield {"requests": chunks, "splits": split_every(rows[:n_rows], self._batch_size)}

    def _chunk_order(self, n_rows: int, epoch: int) -> np.ndarray:
        n_chunks = -(-n_rows // self._chunk_size)
        if self._shuffle and not self._replacement:
            return keyed_rng(self._seed, epoch, _CHUNKS).permutation(n_chunks)
        return np.arange(n_chunks)

    def _dealt_chunks(self, start: int, stop: int, chunks: np.ndarray, last: int) -> list[slice] | np.ndarray:
        """Return the ranges of the given chunks.

        Where ``chunk_size`` does not divide the rows, the short chunk is read last, so that every window but the last
        divides into whole batches. Which rows it holds changes with the order: chunks behind it move up.
        """
        if self._chunk_size == 1:
            return start + chunks  # single rows: as an array, for the sake of speed
        short = (stop - start) % self._chunk_size or self._chunk_size
        first = start + chunks * self._chunk_size - np.where(chunks > last, self._chunk_size - short, 0)
        length = np.where(chunks == last, short, self._chunk_size)
        return [slice(a, a + n) for a, n in zip(first.tolist(), length.tolist(), strict=True)]

    def _drawn_chunks(self, start: int, stop: int, n_rows: int, rng: np.random.Generator) -> list[slice]:
        """Return chunks at places drawn at random, ``n_rows`` in all."""
        lengths = [self._chunk_size] * (n_rows // self._chunk_size)
        if n_rows % self._chunk_size:
            lengths.append(n_rows % self._chunk_size)
        first = rng.integers(start, stop - np.array(lengths), endpoint=True)
        return [slice(a, a + n) for a, n in zip(first.tolist(), lengths, strict=True)]


def check_num_samples(num_samples: int | None) -> int | None:
    """Return ``num_samples``; raise ``ValueError`` if it is given and not positive."""
    if num_samples is not None:
        check_positive(num_samples=num_samples)
    return num_samples
