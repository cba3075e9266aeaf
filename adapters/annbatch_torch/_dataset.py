"""A loader as a dataset of ``torch.utils.data.DataLoader``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._require import require_torch

if TYPE_CHECKING:
    from torch.utils.data import IterableDataset

    from annbatch import Loader


def as_iterable_dataset(loader: Loader) -> IterableDataset[Any]:
    """Return a loader as an iterable dataset, for what wants ``DataLoader``: Lightning, torchdata, older programs.

    It yields whole batches, so the ``DataLoader`` takes ``batch_size=None``. It reads ahead on threads of its own, so
    ``num_workers=0`` is what is fast. Where there have to be workers, they split the batches of their rank: worker
    ``w`` of ``W`` yields the ``w``-th of ``W`` consecutive parts, and batch ``k`` of the ``DataLoader`` is number
    ``k // W`` of worker ``k % W``, as long as all have some. They are to be spawned, not forked
    (``multiprocessing_context="spawn"``). Workers that are started anew for each epoch begin with the epoch of the
    dataset in the main process: call ``set_epoch`` before each. Persistent ones begin one epoch more each time, unless
    ``set_epoch`` chose another.

    Parameters
    ----------
    loader
        A loader made with ``to="torch"``.

    Returns
    -------
    torch.utils.data.IterableDataset
        With the loader's ``__len__``, ``set_epoch``, ``state_dict`` and ``load_state_dict``, by which torchdata's
        ``StatefulDataLoader`` resumes it, also within workers (as many as there were); the loader itself is its
        attribute ``loader``.

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
