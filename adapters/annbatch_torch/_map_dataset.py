"""The dataset that :func:`annbatch_torch.as_map_dataset` returns; its base class needs PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from annbatch.batch import split_rows

from ._adapter import expand

if TYPE_CHECKING:
    from annbatch import Loader


class RowDataset(Dataset[Any]):
    """The rows of a loader by number."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return self.loader.n_obs

    def __getitem__(self, row: Any) -> Any:
        """Return one row; of a list of rows, as a ``BatchSampler`` yields, the batch."""
        if np.ndim(row):
            return self.loader.take(row)
        number = operator.index(row)
        if not 0 <= number < len(self):
            raise IndexError(f"`row` must be one of the loader's rows, 0..{len(self) - 1}, got {number}.")
        return split_rows(self.loader.take([number]), 1, _dense)[0]

    def __getitems__(self, rows: Sequence[int]) -> TakenRows:
        """Return several rows, read together."""
        return TakenRows(self.loader.take(rows), len(rows))


class TakenRows(Sequence[Any]):
    """Rows that were read as one batch, which the default collation of a ``DataLoader`` yields unchanged.

    They are split where another collation, or a dataset around this one, asks for single rows.

    Attributes
    ----------
    batch
        The batch; its elements are also those of this object, by key.
    """

    def __init__(self, batch: Mapping[str, Any], n_rows: int) -> None:
        self.batch = batch
        self._n_rows = n_rows

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows one by one."""
        return split_rows(self.batch, self._n_rows, _dense)

    def __len__(self) -> int:
        return self._n_rows

    def __getitem__(self, at: Any) -> Any:
        return self.batch[at] if isinstance(at, str) else TakenRow(self, range(self._n_rows)[at])


class TakenRow(Mapping[str, Any]):
    """One of several rows; by its type, the default collation recognizes them."""

    def __init__(self, taken: TakenRows, number: int) -> None:
        self._taken = taken
        self._number = number

    def __getitem__(self, key: str) -> Any:
        return self._taken.rows[self._number][key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._taken.rows[self._number])

    def __len__(self) -> int:
        return len(self._taken.rows[self._number])


def _collate_rows(rows: Any, *, collate_fn_map: Any = None) -> Any:
    if isinstance(rows, TakenRows):
        return rows.batch
    return collate([dict(row) for row in rows], collate_fn_map=collate_fn_map)


default_collate_fn_map[TakenRow] = _collate_rows


def _dense(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.layout is torch.sparse_csr:
        return expand(value)
    return value.toarray() if hasattr(value, "toarray") else value
