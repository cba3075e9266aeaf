"""How far an epoch has come, and which reader takes which of the remaining batches: integers only.

An epoch is a sequence of batches, numbered from 0, that depends on seed and epoch alone. Readers (ranks, or the workers
of one rank) each take one contiguous part of it, all at the same pace. The remaining batches therefore follow from the
number of readers and of the steps they made; where other readers continue, these batches are assigned to them in turn.
No list of past batches is kept, so a position is a few numbers, however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

BatchRanges = list[range]
"""Numbers of batches, in the order in which they will be yielded."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far an epoch has come.

    Attributes
    ----------
    epoch
        Number of the epoch.
    assigned
        Number of ranks that read each earlier part of the epoch, and of batches that each rank took.
    ranks, workers
        Number of ranks that read now, and of workers per rank; 1 without ranks or workers.
    steps
        Batches that this reader has taken since then.
    """

    epoch: int = 0
    assigned: tuple[tuple[int, int], ...] = ()
    ranks: int = 1
    workers: int = 1
    steps: int = 0

    def resumed_by(self, ranks: int, workers: int) -> Position:
        """Return the same position for other numbers of ranks and workers.

        Raises
        ------
        ValueError
            If workers had begun, each at its own position, and their number has changed.
        """
        if (self.ranks, self.workers) == (ranks, workers):
            return self
        assigned = self.assigned
        if self.steps and self.workers > 1:
            raise ValueError(
                f"`num_workers` must be {self.workers} on {self.ranks} ranks, as when the state was taken within a "
                f"worker, got {workers} on {ranks}; to resume with other numbers, take the state without workers."
            )
        if self.steps:
            assigned = (*assigned, (self.ranks, self.steps))
        return replace(self, assigned=assigned, ranks=ranks, workers=workers, steps=0)


def cut(ranges: BatchRanges, start: int, stop: int) -> BatchRanges:
    """Return the batches at positions ``start:stop`` of all ranges one after the other."""
    part, first = [], 0
    for batches in ranges:
        piece = batches[max(0, start - first) : max(0, stop - first)]
        if len(piece):
            part.append(piece)
        first += len(batches)
    return part


def parts(n: int, readers: int, *, equal: bool, from_end: bool = False) -> list[tuple[int, int]]:
    """Return which of ``n`` batches each reader takes: contiguous parts, in order.

    Parameters
    ----------
    n, readers
        Numbers of batches and readers.
    equal
        Whether all parts have the same size, so that no reader takes the remainder; else the first parts have one more.
    from_end
        Whether a remainder that no reader takes lies at the beginning instead of the end.
    """
    each, rest = divmod(n, readers)
    if equal:
        first = rest if from_end else 0
        return [(first + i * each, first + (i + 1) * each) for i in range(readers)]
    starts = [i * each + min(i, rest) for i in range(readers + 1)]
    return list(pairwise(starts))


def remaining(ranges: BatchRanges, steps: int, of_readers: list[tuple[int, int]]) -> BatchRanges:
    """Return the batches that remain once each reader has taken ``steps`` of its part, with adjacent ranges joined."""
    total = sum(map(len, ranges))
    starts = [0, *(min(start + steps, stop) for start, stop in of_readers)]
    stops = [*(start for start, _ in of_readers), total]
    # Between what readers took: the rest of a reader's part, and what lies before the next reader's part.
    untaken = [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]
    left: BatchRanges = []
    number, first = 0, 0
    for start, stop in untaken:
        while start < stop:
            while first + len(ranges[number]) <= start:
                first += len(ranges[number])
                number += 1
            piece = ranges[number][start - first : stop - first]
            if left and left[-1].stop == piece.start:
                left[-1] = range(left[-1].start, piece.stop)
            else:
                left.append(piece)
            start += len(piece)
    return left
