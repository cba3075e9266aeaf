"""The dataset that :func:`annbatch_torch.as_iterable_dataset` returns; its base class needs PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annbatch import Loader
    from annbatch.loader import Mix

_SLOTS = 1024
"""Workers that are told apart; a DataLoader has far fewer."""

_SEED_BITS = 31


class LoaderDataset(IterableDataset[Any]):
    """Yields the batches of a loader; in a worker, those of its part.

    Every pass of a ``DataLoader`` is the next epoch. PyTorch does not tell the main process of a pass, and starts new
    workers for each unless they persist, so that workers agree in shared memory: each marks the epoch that it began and
    the seed that PyTorch draws for the workers of a pass. A new worker takes the epoch that another one marked for its
    pass, or else the one after the last.
    """

    def __init__(self, loader: Loader | Mix) -> None:
        self.loader = loader
        self._chosen = torch.tensor([loader.epoch, 0]).share_memory_()  # an epoch, and the number of choices
        self._marks = torch.zeros(_SLOTS, dtype=torch.int64).share_memory_()
        self._known = 0
        self._is_placed = False

    def __iter__(self) -> Iterator[Any]:
        if (worker := get_worker_info()) is not None:
            self._join(worker.id % _SLOTS, (worker.seed - worker.id) % (1 << _SEED_BITS))
        return iter(self.loader)

    def _join(self, slot: int, seed: int) -> None:
        """Begin the epoch of a pass in this worker."""
        epoch, chosen = self._chosen.tolist()
        if chosen != self._known:
            self._known = chosen
            self.loader.set_epoch(epoch)
        elif not self._is_placed and (begun := self._begun(slot, seed)) is not None:
            self.loader.set_epoch(begun)
        self._is_placed = True
        self._marks[slot] = (self.loader.epoch + 1) << _SEED_BITS | seed  # written at once

    def _begun(self, slot: int, seed: int) -> int | None:
        """Return the epoch of a pass that this worker joins; None for the first pass since the epoch was chosen."""
        own = int(self._marks[slot])
        marks = self._marks[self._marks > 0].tolist()
        if not marks:
            return None
        # A seed may come again, if the user sets it: what this worker began already was another pass.
        of_pass = max((mark for mark in marks if mark % (1 << _SEED_BITS) == seed), default=own)
        return (of_pass >> _SEED_BITS) - 1 if of_pass != own else max(marks) >> _SEED_BITS

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields, also in workers that are already running."""
        self.loader.set_epoch(epoch)
        if get_worker_info() is None:
            self._known += 1  # workers started later get it with their copy of the loader
            self._chosen.copy_(torch.tensor([epoch, self._known]))
            self._marks.zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loader; in a worker, of its own copy."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the position of a loader."""
        self.loader.load_state_dict(state)
        if get_worker_info() is None:
            self._marks.zero_()
        else:
            self._is_placed = True
