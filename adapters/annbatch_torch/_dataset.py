"""A loader as a dataset of ``torch.utils.data.DataLoader``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._require import require_torch

if TYPE_CHECKING:
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
        ``ValueError`` in the workers of a ``DataLoader``, each of which would yield every batch.

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
    from ._loader_dataset import LoaderDataset

    return LoaderDataset(loader)
