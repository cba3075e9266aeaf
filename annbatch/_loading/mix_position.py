"""How far a mix has come, and how many batches of each loader are to come: integers only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from .._plan.position import Position
from .mix_order import LONGEST, batches_of_worker, batches_per_loader, endless, loaders_from, n_drawn, shuffled
from .progress import LARGEST, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .mix_order import Draw

Stop: TypeAlias = Literal["first", "all", "never"]

_ENDLESS = 1 << 20  # epochs of each loader that one epoch of an endless mix has for itself


@dataclass(frozen=True, slots=True)
class MixPosition:
    """How far an epoch of a mix has come.

    Attributes
    ----------
    epoch
        Number of the epoch.
    begun, steps
        Batches that each reader took before ``counts`` were planned, and since then.
    ranks, workers
        Number of ranks, and of workers per rank, that ``counts`` were planned for.
    counts
        Batches of each loader from ``begun`` until the mix stops; 0 if it never does.
    last
        The loader of the last batch.
    epochs
        Number of each loader's epoch at the beginning of the epoch of the mix.
    """

    epoch: int = 0
    begun: int = 0
    steps: int = 0
    ranks: int = 1
    workers: int = 1
    counts: tuple[int, ...] = ()
    last: int = 0
    epochs: tuple[int, ...] = ()

    @classmethod
    def read(cls, stored: Any, n_loaders: int) -> MixPosition:
        """Return the position in a state; raise ``ValueError`` if it is none of so many loaders."""
        try:
            fields: dict[str, Any] = {
                name: tuple(map(index, value)) if isinstance(value, list | tuple) else index(value)
                for name, value in stored.items()
            }
            position = cls(**fields)
            numbers = [position.epoch, position.begun, position.steps, *position.counts, *position.epochs]
            readers = [position.ranks, position.workers]
            right = min(numbers) >= 0 and min(readers) >= 1 and 0 <= position.last < n_loaders
            right = right and max(*numbers, *readers) <= LARGEST
            lengths = {len(position.counts), len(position.epochs)}
            right = right and lengths <= ({n_loaders} if position.is_within else {0, n_loaders})
            if right and any(position.counts):
                right = position.steps <= sum(position.counts) < LONGEST and position.counts[position.last] > 0
        except (AttributeError, TypeError):
            right = False
        if not right:
            raise ValueError(f"`state` must have a position as `state_dict` writes it, got {shortened(stored)}.")
        return position

    @property
    def is_within(self) -> bool:
        """Whether batches of the epoch were taken."""
        return self.begun + self.steps > 0


@dataclass(frozen=True, slots=True)
class MixPlan:
    """Which loader yields each batch of a mix.

    Attributes
    ----------
    weights
        Share of each loader; finite and not negative.
    stop
        ``"first"``, ``"all"`` or ``"never"``.
    seed
        Seed of the order.
    """

    weights: tuple[float, ...]
    stop: Stop
    seed: int

    def start(self, epoch: int, lengths: Sequence[int], ranks: int, worker: tuple[int, int]) -> MixPosition:
        """Return the beginning of an epoch.

        Parameters
        ----------
        epoch
            Number of the epoch.
        lengths
            Batches of each loader in one epoch of its own, for this rank.
        ranks, worker
            Number of ranks; number of this worker, and of workers.
        """
        position = MixPosition(epoch, ranks=ranks, workers=worker[1], counts=(0,) * len(lengths))
        if self.stop == "never":
            return replace(position, epochs=(epoch * _ENDLESS,) * len(lengths))
        counts, last = batches_per_loader(lengths, self.weights, stop=self.stop, owed=lengths, epoch=epoch)
        # A loader that comes round three times in each epoch of the mix is at its epochs 0, 1, 2, then at 3, 4, 5.
        passes = [max(1, -(-count // max(1, n))) for count, n in zip(counts, lengths, strict=True)]
        position = replace(position, last=last, epochs=tuple(epoch * n for n in passes))
        return _assigned(position, counts, lengths, lengths, worker)

    def resume(
        self,
        position: MixPosition,
        lengths: Sequence[int],
        of_loaders: Sequence[tuple[int, int]],
        ranks: int,
        worker: tuple[int, int],
    ) -> MixPosition:
        """Return a position for other ranks or workers: the remaining batches are assigned to those present.

        Parameters
        ----------
        position
            A position within an epoch.
        of_loaders
            Number of each loader's epoch, and how many of its batches are left for this rank.
        lengths, ranks, worker
            See :meth:`start`.

        Raises
        ------
        ValueError
            If workers had begun, each at its own position, and their number has changed.
        """
        Position(ranks=position.ranks, workers=position.workers, steps=position.steps).resumed_by(ranks, worker[1])
        here = replace(position, ranks=ranks, workers=worker[1])
        if self.stop == "never":
            return here
        taken = n_drawn(self._draw(position, 0), position.steps, len(lengths))
        shares = [count - before for count, before in zip(position.counts, taken, strict=True)]
        left = [n for _, n in of_loaders]
        owed = [n if epoch == first else 0 for (epoch, n), first in zip(of_loaders, position.epochs, strict=True)]
        counts, last = batches_per_loader(left, shares, stop=self.stop, owed=owed, epoch=position.epoch)
        here = replace(here, begun=position.begun + position.steps, steps=0, last=last)
        return _assigned(here, counts, left, lengths, worker)

    def loaders_from(self, position: MixPosition, worker: int) -> Iterator[int]:
        """Yield the loader of each batch from a position on."""
        return loaders_from(self._draw(position, worker), position.steps)

    def _draw(self, position: MixPosition, worker: int) -> Draw:
        if self.stop == "never":
            return endless(self.weights, seed=self.seed, key=(position.epoch, worker))
        key = (position.epoch, position.begun, worker)
        return shuffled(position.counts, position.last, seed=self.seed, key=key)


def _assigned(
    position: MixPosition, counts: list[int], left: Sequence[int], lengths: Sequence[int], worker: tuple[int, int]
) -> MixPosition:
    """Return the position with what this worker has of ``counts``."""
    own = batches_of_worker(counts, left, lengths, worker)
    return replace(position, counts=tuple(own), last=position.last if own[position.last] else int(np.argmax(own)))
