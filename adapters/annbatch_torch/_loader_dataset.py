"""The dataset that :func:`annbatch_torch.as_iterable_dataset` returns; its base class needs PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annbatch import Loader


class LoaderDataset(IterableDataset[Any]):
    """Yields the batches of a loader; in a worker, those of its part.

    Persistent workers hold copies of the loader, and one may have finished its part when another has not. So workers do
    not track the epoch themselves: it is the one that the main process chose, in shared memory, plus one for each
    iteration since.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._chosen = torch.tensor([loader.epoch, 0]).share_memory_()  # an epoch, and the number of choices
        self._known = 0
        self._begun: int | None = None

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            self._follow()
        return iter(self.loader)

    def _follow(self) -> None:
        epoch, chosen = self._chosen.tolist()
        if chosen != self._known:
            self._known = chosen
            self.loader.set_epoch(epoch)
        elif self._begun is not None:
            self.loader.set_epoch(self._begun + 1)
        self._begun = self.loader.epoch

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields, also in workers that are already running."""
        self.loader.set_epoch(epoch)
        if get_worker_info() is None:
            self._known += 1  # workers started later get it with their copy of the loader
            self._chosen.copy_(torch.tensor([epoch, self._known]))

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the loader; in a worker, of its own copy."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the position of a loader."""
        self.loader.load_state_dict(state)
        self._begun = None
