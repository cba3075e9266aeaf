"""What :func:`annbatch_torch.as_iterable_dataset` makes. Imported when it is called: its base class is PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annbatch import Loader


class LoaderDataset(IterableDataset[Any]):
    """Yields the batches of a loader."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        if worker is not None:
            raise ValueError(
                "`num_workers` must be 0, because the loader reads ahead on threads of its own, and each worker would "
                f"yield every batch, copied from its process; got {worker.num_workers}."
            )
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.loader.set_epoch(epoch)
