"""Where a run stands within an epoch, and who takes which batches of the rest: integers only.

An epoch is a sequence of batches, numbered from 0, that depends on seed and epoch alone. Readers (ranks, or the workers
of one) each take one contiguous part of it, all at the same pace. What is left at any time is therefore known from how
many readers there were and how many steps they made; where others go on, the rest is assigned to them in turn. No list
of what has been seen is kept, so a position is a few numbers however many rows there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

Stretches = list[range]
"""Batches by their numbers, in the order in which they are to come."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far an epoch has come.

    Attributes
    ----------
    epoch
        Which one.
    assigned
        For each earlier part of the epoch, by how many ranks it was read, and how many batches each of them took.
    ranks, workers
        How many ranks read now, and how many workers in each; 1 where there are none.
    steps
        Batches that this reader has taken since.
    """

    epoch: int = 0
    assigned: tuple[tuple[int, int], ...] = ()
    ranks: int = 1
    workers: int = 1
    steps: int = 0

    def taken_up_by(self, ranks: int, workers: int) -> Position:
        """Return the same place for so many ranks and workers.

        Raises
        ------
        ValueError
            If workers were under way, each at a place of its own, and there are now others.
        """
        if (self.ranks, self.workers) == (ranks, workers):
            return self
        assigned = self.assigned
        if self.steps and self.workers > 1:
            raise ValueError(
                f"`num_workers` must be {self.workers} on {self.ranks} ranks, as when the state was taken within a "
                f"worker, got {workers} on {ranks}; a state that is to go on elsewhere is taken without workers."
            )
        if self.steps:
            assigned = (*assigned, (self.ranks, self.steps))
        return replace(self, assigned=assigned, ranks=ranks, workers=workers, steps=0)


def cut(stretches: Stretches, start: int, stop: int) -> Stretches:
    """Return the batches at ``start:stop`` of all the stretches one after the other."""
    part, first = [], 0
    for stretch in stretches:
        piece = stretch[max(0, start - first) : max(0, stop - first)]
        if len(piece):
            part.append(piece)
        first += len(stretch)
    return part


def parts(n: int, readers: int, *, equal: bool, from_end: bool = False) -> list[tuple[int, int]]:
    """Return which of ``n`` batches each reader takes: contiguous parts, in order.

    Parameters
    ----------
    n, readers
        How many batches and readers.
    equal
        Whether all parts have the same size and the remainder is nobody's; else the first parts have one more.
    from_end
        Whether an unclaimed remainder lies at the beginning and not at the end.
    """
    each, rest = divmod(n, readers)
    if equal:
        first = rest if from_end else 0
        return [(first + i * each, first + (i + 1) * each) for i in range(readers)]
    starts = [i * each + min(i, rest) for i in range(readers + 1)]
    return list(pairwise(starts))


def rest_of(stretches: Stretches, steps: int, of_readers: list[tuple[int, int]]) -> Stretches:
    """Return what is left once each reader has taken ``steps`` batches of its part: in one sweep, neighbours joined."""
    total = sum(map(len, stretches))
    starts = [0, *(min(start + steps, stop) for start, stop in of_readers)]
    stops = [*(start for start, _ in of_readers), total]
    # Pieces between what readers took: the rest of one's part, and what lies before the next one's.
    wanted = [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]
    left: Stretches = []
    place, first = 0, 0
    for start, stop in wanted:
        while start < stop:
            while first + len(stretches[place]) <= start:
                first += len(stretches[place])
                place += 1
            piece = stretches[place][start - first : stop - first]
            if left and left[-1].stop == piece.start:
                left[-1] = range(left[-1].start, piece.stop)
            else:
                left.append(piece)
            start += len(piece)
    return left
