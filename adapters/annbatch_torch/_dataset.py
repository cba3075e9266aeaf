"""A loader as a dataset for ``torch.utils.data.DataLoader``: of batches, or of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._adapter import require_torch

if TYPE_CHECKING:
    from torch.utils.data import Dataset, IterableDataset

    from annbatch import Loader
    from annbatch.loader import Mix


def as_iterable_dataset(loader: Loader | Mix) -> IterableDataset[Any]:
    """Return the loader itself, which is an iterable dataset where PyTorch is imported, for a ``DataLoader``.

    It yields whole batches, so pass ``batch_size=None`` to the ``DataLoader``. The loader reads ahead on its own
    threads, so ``num_workers=0`` is fastest. If you need workers, they split the batches of their rank: worker ``w`` of
    ``W`` yields the ``w``-th of ``W`` consecutive parts, and batch ``k`` of the ``DataLoader`` is number ``k // W`` of
    worker ``k % W``, as long as all have some. Spawn them, do not fork (``multiprocessing_context="spawn"``). Each pass
    of the ``DataLoader`` is the next epoch, with persistent workers and with new ones, unless ``set_epoch`` chose
    another.

    Parameters
    ----------
    loader
        Loader with ``to="torch"``, or a mix of such loaders. In workers, each mixes its parts of the loaders' batches.

    Returns
    -------
    torch.utils.data.IterableDataset
        ``loader``. It has ``__len__``, ``set_epoch``, ``state_dict`` and ``load_state_dict``, so that torchdata's
        ``StatefulDataLoader`` can resume it, also in workers (with the same number of them).

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If PyTorch is not installed.

    Examples
    --------
    ::

        dataset = as_iterable_dataset(
            Loader(batch_size=4096, to="torch").use_collection(collection)
        )
        for batch in torch.utils.data.DataLoader(dataset, batch_size=None):
            step(batch["X"])
    """
    require_torch()
    import torch.utils.data

    assert isinstance(loader, torch.utils.data.IterableDataset)
    return loader


def as_map_dataset(loader: Loader) -> Dataset[Any]:
    """Return the rows of a loader as a map-style dataset, for samplers of PyTorch.

    The sampler of the ``DataLoader`` decides which rows make a batch, and the loader's own has no effect. With
    ``batch_size=n`` the ``DataLoader`` yields batches of the loader's form, each read at once by
    :meth:`annbatch.Loader.take`; it reads nothing ahead unless it has workers. Spawn them, do not fork
    (``multiprocessing_context="spawn"``).

    Parameters
    ----------
    loader
        Loader with ``to="torch"``.

    Returns
    -------
    torch.utils.data.Dataset
        ``dataset[i]`` is row ``i`` alone: a dict like a batch, of dense arrays without their first axis and of one
        value per column of ``obs``; ``dataset[[i, j]]`` is a batch. The attribute ``loader`` is the loader itself.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If PyTorch is not installed.

    Examples
    --------
    ::

        dataset = as_map_dataset(Loader(to="torch").use_collection(collection))
        sampler = torch.utils.data.WeightedRandomSampler(weights, num_samples=100_000)
        for batch in torch.utils.data.DataLoader(
            dataset, batch_size=4096, sampler=sampler
        ):
            step(batch["X"])
    """
    require_torch()
    from ._map_dataset import RowDataset

    return RowDataset(loader)
