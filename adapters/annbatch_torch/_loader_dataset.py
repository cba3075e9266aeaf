"""What :func:`annbatch_torch.as_iterable_dataset` makes. Imported when it is called: its base class is PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annbatch import Loader


class LoaderDataset(IterableDataset[Any]):
    """Yields the batches of a loader; in a worker, those of its part."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands; in a worker, where this one does."""
        return self.loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a loader stood."""
        self.loader.load_state_dict(state)
