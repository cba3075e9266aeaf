"""What :func:`annbatch_torch.as_iterable_dataset` makes. Imported when it is called: its base class is PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annbatch import Loader


class LoaderDataset(IterableDataset[Any]):
    """Yields the batches of a loader; in a worker, those of its part.

    Persistent workers have copies of the loader, of which one may have come to the end of its part where another has
    not. So the epoch is not theirs to find out: it is what the main process chose, in memory that all share, and one
    more for each time that they were asked to begin since.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._chosen = torch.tensor([loader.epoch, 0]).share_memory_()  # an epoch, and how often one was chosen
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
        """Choose the epoch that the next iteration yields, also in workers that are there already."""
        self.loader.set_epoch(epoch)
        if get_worker_info() is None:
            self._known += 1  # a worker that is started later has it with its copy of the loader
            self._chosen.copy_(torch.tensor([epoch, self._known]))

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands; in a worker, where this one does."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader stood."""
        self.loader.load_state_dict(state)
        self._begun = None
