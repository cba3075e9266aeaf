"""How fast this machine reads a collection in chunks of several sizes: what ``annbatch bench`` prints."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, repeat
from math import gcd
from time import perf_counter
from typing import TYPE_CHECKING

from ..loader import Loader
from ._diversity import ENOUGH_ENTROPY, diversity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._anndata.variables import Join
    from ..collection import DatasetCollection
    from ._diversity import Diversity

WARM_UP_WINDOWS = 4
"""Kernels are compiled in the first; and as one is read ahead, all later ones lie in memory that was used before."""


_AS_FAST = 0.9
"""Share of the largest speed that counts as the same: measurements of a few seconds differ as much."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Measured speed of reading in chunks of one size.

    Attributes
    ----------
    chunk_size, preload_nchunks, batch_size
        The loader's arguments.
    rows
        Rows that were yielded.
    seconds
        How long that took, once kernels were compiled and windows no longer took fresh memory.
    wait_seconds
        How much of it was waiting for a window.
    peak_buffer_bytes
        The most memory that windows held at once.
    diversity
        How far batches are from rows drawn uniformly; None where that was not asked for.
    """

    chunk_size: int
    preload_nchunks: int
    batch_size: int
    rows: int
    seconds: float
    wait_seconds: float
    peak_buffer_bytes: int
    diversity: Diversity | None

    @property
    def speed(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds


def verdict(rates: Sequence[Rate], to: str | None = None) -> str:
    """Return which setting to take and why, and the line that makes such a loader.

    Where diversity was measured, it is the fastest of those whose batches have 99 % of the entropy of uniform sampling,
    or the most diverse if none has. Else it is the smallest chunk that is about as fast as any: it mixes best.
    """
    fastest = max(rate.speed for rate in rates)
    shares = {rate: rate.diversity.share_of_entropy for rate in rates if rate.diversity is not None}
    if shares:
        mixed = [rate for rate in rates if shares[rate] >= ENOUGH_ENTROPY]
        best = max(mixed, key=lambda rate: rate.speed) if mixed else max(rates, key=lambda rate: shares[rate])
        why = f"with {shares[best]:.1%} of the entropy of uniform sampling"
    else:
        best = min((rate for rate in rates if rate.speed >= _AS_FAST * fastest), key=lambda rate: rate.chunk_size)
        why = "the smallest chunks, which mix best, that are about as fast as any"
    sizes = f"batch_size={best.batch_size}, chunk_size={best.chunk_size}, preload_nchunks={best.preload_nchunks}"
    framework = f", to={to!r}" if to else ""
    speed = f"{best.speed:,.0f} rows/s, {best.speed / fastest:.0%} of the fastest"
    return f"Best: chunk_size={best.chunk_size}, {speed}; {why}.\n  Loader({sizes}, shuffle=True{framework})"


def measure(
    collection: DatasetCollection,
    *,
    chunk_sizes: Sequence[int],
    batch_size: int,
    window: int,
    seconds: float,
    to: str | None,
    column: str | None,
    join: Join = "exact",
) -> Iterator[Rate]:
    """Read chunks at random, of each size in turn, ``X`` and all of ``obs``.

    Parameters
    ----------
    collection
        Collection to read.
    chunk_sizes
        Contiguous rows that are read at once.
    batch_size
        Rows per batch. Where the collection has fewer rows than a chunk, a batch or a window, these are as long as it.
    window
        Rows in memory at once; rounded up to whole chunks and whole batches.
    seconds
        How long to read at each size, at least; a batch is the least.
    to
        Framework of the batches, as for :class:`~annbatch.Loader`.
    column
        Column of ``obs`` whose diversity is measured too; None for none.
    join
        How variables and columns of ``obs`` are joined where datasets differ in them.

    Yields
    ------
    Rate
        One per chunk size.
    """
    for chunk_size, preload_nchunks, n_rows in _settings(collection.n_obs, chunk_sizes, batch_size, window):
        loader = Loader(
            chunk_size=chunk_size,
            preload_nchunks=preload_nchunks,
            batch_size=n_rows,
            shuffle=True,
            seed=0,
            to=to,
            prefetch=1,
            var_join=join,
            obs_join=join,
        )
        with loader.use_collection(collection):
            diverse = None if column is None else diversity(loader, column)
            yield _read(loader, (chunk_size, preload_nchunks, n_rows), seconds, diverse)


def _settings(n_obs: int, chunk_sizes: Sequence[int], batch_size: int, window: int) -> Iterator[tuple[int, int, int]]:
    """Yield chunk size, chunks a window and batch size that go together."""
    batch_size = min(batch_size, n_obs)
    for chunk_size in dict.fromkeys(min(size, n_obs) for size in chunk_sizes):
        step = batch_size // gcd(batch_size, chunk_size)  # this many chunks are whole batches
        yield chunk_size, -(-min(window, n_obs) // (chunk_size * step)) * step, batch_size


def _read(loader: Loader, setting: tuple[int, int, int], seconds: float, diverse: Diversity | None) -> Rate:
    batches = chain.from_iterable(repeat(loader))  # epoch after epoch
    for _ in range(WARM_UP_WINDOWS * setting[0] * setting[1] // setting[2]):
        next(batches)
    before, begin, passed = loader.stats, perf_counter(), 0.0
    while passed < seconds or loader.stats.batches == before.batches:
        next(batches)
        passed = perf_counter() - begin
    after = loader.stats
    waited, rows = after.wait_seconds - before.wait_seconds, after.rows - before.rows
    return Rate(*setting, rows, passed, waited, after.peak_buffer_bytes, diverse)
