"""Batches as PyTorch tensors: ``Loader(to="torch")``.

>>> import annbatch_torch
>>> annbatch_torch.__all__
['TorchAdapter', 'as_iterable_dataset', 'as_map_dataset']
"""

from __future__ import annotations

from ._adapter import TorchAdapter as TorchAdapter
from ._dataset import as_iterable_dataset as as_iterable_dataset
from ._dataset import as_map_dataset as as_map_dataset

__all__ = ["TorchAdapter", "as_iterable_dataset", "as_map_dataset"]
