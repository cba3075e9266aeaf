"""Samplers whose windows can each be computed without the ones before."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self

from .._arguments import flag
from ._base import Sampler
from ._checks import check_window
from ._row_set import RowSet, RowsLike, called, check_mask, mask_text
from ._seeding import generator_and_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from ..types import LoadRequest

    Draw = Callable[[int, int], LoadRequest]
    """Function of the number of a window and its number of rows in batches; returns the window."""


class WindowSampler(Sampler):
    """Yields windows of chunks. A window is a function of seed, epoch and its number, so any can be found at once.

    Subclasses supply the number of rows of an epoch, and draw its windows.
    """

    _mask_is_called = "mask"  # in errors

    def __init__(
        self,
        chunk_size: int,
        preload_nchunks: int,
        batch_size: int,
        *,
        drop_last: bool,
        mask: RowsLike | None,
        rng: np.random.Generator | int | None,
    ) -> None:
        check_window(chunk_size, preload_nchunks, batch_size)
        self._chunk_size = int(chunk_size)
        self._preload_nchunks = int(preload_nchunks)
        self._batch_size = int(batch_size)
        self._drop_last = flag(drop_last, "drop_last")
        self._mask = check_mask(mask)
        self._rng, seed = generator_and_seed(rng)
        self._order_seed, self.order_seed_is_given = (seed, self._rng), rng is not None

    @property
    def batch_size(self) -> int:
        """Rows per batch."""
        return self._batch_size

    @property
    def mask(self) -> slice | RowSet:
        """Rows to sample from."""
        return self._mask

    @mask.setter
    def mask(self, value: RowsLike) -> None:
        self._mask, self._mask_is_called = check_mask(value), "mask"

    def n_batches(self, n_obs: int) -> int:
        """Return the number of batches of one epoch over ``n_obs`` rows."""
        return -(-self._n_rows(n_obs) // self._batch_size)

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        return {
            "name": type(self).__name__,
            "chunk_size": self._chunk_size,
            "preload_nchunks": self._preload_nchunks,
            "batch_size": self._batch_size,
            "drop_last": self._drop_last,
            "mask": mask_text(self._mask),
        }

    @abstractmethod
    def _n_samples(self, n_obs: int) -> int:
        """Return the number of rows that an epoch draws, including those that ``drop_last`` leaves out."""

    @abstractmethod
    def _open(self, n_obs: int, epoch: int) -> Draw:
        """Return the function that draws the windows of an epoch."""

    def of_rows(self, rows: slice | RowSet) -> Self:
        """Return this sampler, changed to sample from rows that a user gave as ``rows``, which errors name."""
        self._mask, self._mask_is_called = rows, "rows"
        return self

    def _rows(self, n_obs: int) -> RowSet:
        with called(self._mask_is_called):
            return RowSet(self._mask, n_obs)

    def _n_rows(self, n_obs: int) -> int:
        """Return the number of rows of an epoch in batches."""
        n_samples = self._n_samples(n_obs)
        return n_samples - n_samples % self._batch_size if self._drop_last else n_samples

    def has_short_batch(self, n_obs: int) -> bool:
        return self._n_rows(n_obs) % self._batch_size > 0

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        return self._windows(n_obs, self.epoch, 0)

    def _requests_from(self, n_obs: int, epoch: int, batch: int) -> tuple[int, int, Iterator[LoadRequest]]:
        if type(self)._sample is not WindowSampler._sample:  # a subclass that makes other requests
            return super()._requests_from(n_obs, epoch, batch)
        n_batches = self._chunk_size * self._preload_nchunks // self._batch_size
        window = batch // n_batches
        return window, window * n_batches, self._windows(n_obs, epoch, window)

    def _windows(self, n_obs: int, epoch: int, first: int) -> Iterator[LoadRequest]:
        n_rows, window_size = self._n_rows(n_obs), self._chunk_size * self._preload_nchunks
        draw = self._open(n_obs, epoch)
        for window in range(first, -(-n_rows // window_size)):
            yield draw(window, min(window_size, n_rows - window * window_size))
