"""Batches as PyTorch tensors: ``Loader(to="torch")``.

>>> import annbatch_torch
>>> annbatch_torch.__all__
['TorchAdapter', 'as_iterable_dataset', 'as_map_dataset']

``LightningDataModule`` is here too where Lightning is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._adapter import TorchAdapter as TorchAdapter
from ._dataset import as_iterable_dataset as as_iterable_dataset
from ._dataset import as_map_dataset as as_map_dataset

if TYPE_CHECKING:
    from ._lightning import LightningDataModule as LightningDataModule

__all__ = ["TorchAdapter", "as_iterable_dataset", "as_map_dataset"]


def __getattr__(name: str) -> Any:
    """Import Lightning when its data module is asked for: it takes seconds, and most programs do without."""
    if name != "LightningDataModule":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from annbatch.errors import MissingDependencyError

    from ._adapter import require_torch

    require_torch()
    try:
        from ._lightning import LightningDataModule
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("LightningDataModule needs Lightning: `pip install lightning`.") from exc
    return LightningDataModule
