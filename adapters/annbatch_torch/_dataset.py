"""A loader as a dataset of ``torch.utils.data.DataLoader``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._require import require_torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.utils.data import IterableDataset

    from annbatch import Loader


def as_iterable_dataset(loader: Loader) -> IterableDataset[Any]:
    """Return a loader as an iterable dataset, for what wants ``DataLoader``: Lightning, Accelerate, older programs.

    It yields whole batches, so the ``DataLoader`` takes ``batch_size=None``; and it reads ahead on threads of its
    own, so it takes ``num_workers=0``.

    Parameters
    ----------
    loader
        A loader made with ``to="torch"``.

    Returns
    -------
    torch.utils.data.IterableDataset
        With the loader's ``__len__`` and ``set_epoch``; the loader itself is its attribute ``loader``. Iterating raises
        ``ValueError`` in a ``DataLoader`` of several workers, each of which would yield every batch.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If PyTorch is not installed.

    Examples
    --------
    ::

        dataset = as_iterable_dataset(Loader(batch_size=4096, to="torch").use_collection(collection))
        for batch in torch.utils.data.DataLoader(dataset, batch_size=None):
            step(batch["X"])
    """
    require_torch()
    from torch.utils.data import IterableDataset, get_worker_info

    class LoaderDataset(IterableDataset[Any]):
        def __init__(self, loader: Loader) -> None:
            self.loader = loader

        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()
            if worker is not None and worker.num_workers > 1:
                raise ValueError(
                    "`num_workers` must be 0, because the loader reads ahead on threads of its own and every worker "
                    f"would yield every batch, got {worker.num_workers}."
                )
            return iter(self.loader)

        def __len__(self) -> int:
            return len(self.loader)

        def set_epoch(self, epoch: int) -> None:
            self.loader.set_epoch(epoch)

    return LoaderDataset(loader)
