"""Data frames of one dataset, read by rows: in memory, lazy or stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from .._format.attributes import encoding_of, text, where
from ..errors import CorruptDataError
from .columns import memory_column, n_rows_of, stored_column

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .columns import Column, Values


class ObsFrame(Protocol):
    """Annotations of one dataset, opened one column at a time."""

    columns: list[str]
    n_rows: int
    index_name: Any

    def column(self, name: str) -> Column:
        """Open a column."""

    def names(self) -> Column:
        """Open the names of the rows."""


class MemoryFrame:
    """A DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        if not frame.columns.is_unique:
            repeated = list(map(str, frame.columns[frame.columns.duplicated()].unique()))
            raise ValueError(f"Columns of a data frame must have different names, got {repeated} more than once.")
        self.columns = list(frame.columns)
        self.n_rows = len(frame)
        self.index_name = frame.index.name
        self._frame = frame

    def column(self, name: str) -> Column:
        """Open a column."""
        return memory_column(self._frame[name].array)

    def names(self) -> Column:
        """Open the names of the rows."""
        return memory_column(self._frame.index.array)


class LazyFrame:
    """A DataFrame that anndata read lazily; a column is read whole when it is opened."""

    def __init__(self, frame: Any) -> None:
        # `frame.columns` comes from a set, in an order that differs from process to process.
        self.columns = sorted(map(str, frame.columns), key=list(frame.ds.variables).index)
        self.n_rows = int(frame.shape[0])
        self.index_name = _index_name(str(frame.true_index_dim))
        self._frame = frame

    def column(self, name: str) -> Column:
        """Open a column."""
        return memory_column(self._frame[[name]].to_memory()[name].array)

    def names(self) -> Column:
        """Open the names of the rows."""
        return memory_column(pd.Index(np.asarray(self._frame.true_index)).array)


class StoredFrame:
    """A stored data frame in anndata's encoding; nothing is read before a column is opened."""

    def __init__(self, group: Any, open_values: Callable[[Any], Values] | None = None) -> None:
        self._group = group
        self._open_values = open_values  # as for `stored_column`
        self.columns = [str(text(name)) for name in np.atleast_1d(group.attrs["column-order"])]
        self._index = str(text(group.attrs["_index"]))
        self._names = self._element(self._index)
        self.index_name = _index_name(self._index)
        self.n_rows = n_rows_of(self._names)

    def column(self, name: str) -> Column:
        """Open a column."""
        return self._column(self._element(name))

    def names(self) -> Column:
        """Open the names of the rows."""
        return self._column(self._names)

    def _element(self, name: str) -> Any:
        try:
            return self._group[name]
        except KeyError as error:
            raise CorruptDataError(
                f"{where(self._group)} must hold the columns that it lists, got no {name!r}."
            ) from error

    def _column(self, element: Any) -> Column:
        if (n_rows := n_rows_of(element)) != self.n_rows:
            raise CorruptDataError(f"{where(element)} must have {self.n_rows} rows, as the index has, got {n_rows}.")
        return stored_column(self._group, element, self._open_values)

    def read_names(self) -> Any:
        """Return the names of all rows."""
        return self.names().take(np.arange(self.n_rows))


def _index_name(stored: str) -> str | None:
    """Return the name of a stored index; anndata stores one without a name as ``_index``."""
    return None if stored == "_index" else stored


def stored_frame(element: Any) -> StoredFrame:
    """Open a stored DataFrame.

    Raises
    ------
    TypeError
        If it is not a group of columns, as current versions of anndata write it.
    """
    if encoding_of(element) != "dataframe" or not {"column-order", "_index"} <= set(element.attrs):
        raise TypeError(
            f"{where(element)} must be a data frame in anndata's encoding, got {encoding_of(element)!r}: rewrite the "
            "file with a current anndata, or load it and add the loaded object."
        )
    return StoredFrame(element)
