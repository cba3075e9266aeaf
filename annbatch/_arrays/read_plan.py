"""Plan which part of which chunk to decode for which pieces: integers only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._plan.ranges import concatenated_ranges
from .._runtime.open_files import most_per_read

if TYPE_CHECKING:
    from .._plan.pieces import Pieces


@dataclass(frozen=True, slots=True)
class Reads:
    """Stretches of chunks, ascending; each is fetched and decoded once, then its pieces are scattered.

    Attributes
    ----------
    chunk
        ``(n,)`` int64 number of the chunk.
    start, stop
        ``(n,)`` int64 elements of the stretch, counted from the beginning of the array.
    piece
        ``(n,)`` int64 first piece that ends after ``start``; a piece that crosses the border of two stretches belongs
        to both.
    """

    chunk: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    piece: np.ndarray

    def __len__(self) -> int:
        return len(self.chunk)

    @property
    def fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The arrays, as kernels take them."""
        return self.chunk, self.start, self.stop, self.piece

    def in_bytes(self, chunk: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the stretches in bytes from the beginning of their chunks, given a chunk's elements and their size."""
        origin = self.chunk * chunk
        return (self.start - origin) * size, (self.stop - origin) * size

    def part(self, part: slice) -> Reads:
        """Return some of the stretches."""
        return Reads(self.chunk[part], self.start[part], self.stop[part], self.piece[part])

    def between(self, start: int, stop: int, first: int) -> tuple[slice, Reads]:
        """Find the stretches that hold some elements.

        Parameters
        ----------
        start, stop
            Range of elements.
        first
            First piece that lies in it.

        Returns
        -------
        tuple
            Numbers of the stretches, and the stretches cut to the elements, with pieces counted from ``first``.
        """
        part = slice(
            int(np.searchsorted(self.stop, start, side="right")), int(np.searchsorted(self.start, stop, side="left"))
        )
        low, high = np.maximum(self.start[part], start), np.minimum(self.stop[part], stop)
        return part, Reads(self.chunk[part], low, high, np.maximum(self.piece[part] - first, 0))

    def in_few_files(self, per_file: int) -> list[slice]:
        """Cut the stretches into parts that lie in a few files each, so that few are open at a time.

        Parameters
        ----------
        per_file
            Chunks per file.
        """
        number = self.chunk // per_file
        file = np.cumsum(np.diff(number, prepend=number[:1]) != 0)
        cuts = np.flatnonzero(np.diff(file // most_per_read(), prepend=-1)).tolist()
        return [slice(a, b) for a, b in zip(cuts, [*cuts[1:], len(self)], strict=True)]


def plan_reads(pieces: Pieces, *, chunk: int, gap: int, stretch: int) -> Reads:
    """Cover pieces with stretches that lie in one chunk each.

    Parameters
    ----------
    pieces
        Pieces in elements; ``start`` and ``start + length`` ascend, all lengths are positive.
    chunk
        Elements per chunk.
    gap
        Number of elements that are cheaper to decode in vain than to skip.
    stretch
        Maximum of elements to decode at once, so that they stay in the cache.
    """
    ends = pieces.start + pieces.length
    first = np.concatenate([[0], np.flatnonzero(pieces.start[1:] > ends[:-1] + gap) + 1]).astype(np.int64)
    span_start = pieces.start[first]
    span_stop = ends[np.append(first[1:], len(pieces)) - 1]
    # Cut each span at multiples of `step` that are counted from the beginning of each chunk.
    step = min(chunk, stretch)
    per_chunk = -(-chunk // step)
    low, high = _cell(span_start, chunk, step, per_chunk), _cell(span_stop - 1, chunk, step, per_chunk)
    count = high - low + 1
    span = np.repeat(np.arange(len(first)), count)
    cell = concatenated_ranges(low, count)
    cell_start = cell // per_chunk * chunk + cell % per_chunk * step
    cell_stop = np.minimum(cell_start + step, (cell // per_chunk + 1) * chunk)
    start = np.maximum(cell_start, span_start[span])
    stop = np.minimum(cell_stop, span_stop[span])
    return Reads(cell // per_chunk, start, stop, np.searchsorted(ends, start, side="right"))


def _cell(element: np.ndarray, chunk: int, step: int, per_chunk: int) -> np.ndarray:
    cell: np.ndarray = element // chunk * per_chunk + element % chunk // step
    return cell
