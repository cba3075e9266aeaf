"""Data frames of one dataset, read by rows: in memory, lazy or stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from .._arrays.bounded import check_backed
from .._arrays.dask import stored_behind
from .._arrays.node_folder import NodeFolder
from .._arrays.open import open_array
from .._arrays.values import StoredValues
from .._format.attributes import encoding_of, text, where
from ..errors import CorruptDataError, StoreError, reading
from .columns import (
    PlainColumn,
    StoredStrings,
    TextColumn,
    memory_column,
    n_rows_of,
    stored_column,
    values_of,
)

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

    def __init__(self, frame: pd.DataFrame, where: str = "A data frame") -> None:
        self.columns = list(frame.columns)
        if frame.index.nlevels > 1:
            raise ValueError(
                f"{where} must have one name per row, got an index of {frame.index.nlevels} levels: `reset_index` "
                "makes columns of them."
            )
        if not frame.columns.is_unique:
            _check_unique(self.columns, where, ValueError)
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
        index = str(frame.true_index_dim)
        self.index_name = None if index == "_index" else index
        self._frame = frame

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryFrame, (in_memory(self._frame),)  # it may differ from what is stored

    def column(self, name: str) -> Column:
        """Open a column."""
        with reading(f"Column {name!r} of a lazily read data frame"):
            values = self._frame.ds[name]
            stored = None if values.chunks is None else stored_behind(values.data)
            if stored is not None and stored.dtype == values.dtype:  # of the open file: dask opens its path again
                is_text = stored.dtype.kind in "OSUT"
                return PlainColumn(StoredStrings(stored) if is_text else StoredValues(open_array(stored)))
            array = self._frame[[name]].to_memory()[name].array
            if isinstance(array, pd.Categorical):  # without the categories that no row has, which files keep
                known = values.dtype.categories
                array = array.set_categories(known) if array.categories.isin(known).all() else array
            return memory_column(array)

    def names(self) -> Column:
        """Open the names of the rows."""
        return memory_column(pd.Index(np.asarray(self._frame.true_index)).array)


def is_lazy(value: Any) -> bool:
    """Return whether anndata reads a data frame lazily; one of pandas has any column as an attribute."""
    return hasattr(type(value), "true_index")


def in_memory(table: Any) -> pd.DataFrame:
    """Return a DataFrame; load one that anndata read lazily."""
    if isinstance(table, pd.DataFrame):
        return table
    lazy, every = LazyFrame(table), np.arange(table.shape[0])
    columns = {name: lazy.column(name).take(every) for name in lazy.columns}
    return pd.DataFrame(columns, index=pd.Index(lazy.names().take(every), name=lazy.index_name))


class StoredFrame:
    """A stored data frame in anndata's encoding; nothing is read before a column is opened.

    Raises
    ------
    CorruptDataError
        If it lacks its index, or repeats names of columns.
    """

    def __init__(self, group: Any, open_values: Callable[[Any], Values] | None = None) -> None:
        self._group = group
        self._folder = NodeFolder.of(group)
        self._open_values = open_values  # as for `stored_column`
        with reading(where(group)):
            order = group.attrs["column-order"]
            is_empty = getattr(order, "shape", ()) is None  # HDF5's null, for no names
            self.columns = [] if is_empty else [str(text(name)) for name in np.atleast_1d(order)]
            self._index = str(text(group.attrs["_index"]))
            self.n_rows = n_rows_of(group[self._index])
        _check_unique(self.columns, where(group), CorruptDataError)
        self.index_name = None if self._index == "_index" else self._index  # anndata's name for one without

    def __getstate__(self) -> dict[str, Any]:
        from .._arrays.hdf5_files import by_path

        return by_path(vars(self))

    def column(self, name: str) -> Column:
        """Open a column."""
        if self._folder is not None:
            self._folder.check()
        return stored_column(self._group, name, self.n_rows, self._open_values)

    def names(self) -> Column:
        """Open the names of the rows, as strings."""
        column = self.column(self._index)
        return column if column.dtype == object else TextColumn(column)

    def read(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the chosen columns of all rows; all columns by default."""
        index = self.read_index()  # first: its file shows whether there are as many rows as it says
        every = np.arange(self.n_rows)
        read = {name: self.column(name).take(every) for name in (self.columns if columns is None else columns)}
        return pd.DataFrame(read, index=index)

    def read_index(self) -> pd.Index:
        """Return the names of all rows as an index."""
        index: pd.Index = pd.Index(self.read_names(), name=self.index_name)
        return index

    def read_names(self) -> Any:
        """Return the names of all rows."""
        with reading(where(self._group)):
            check_backed(values_of(self._group[self._index]))
        return self.names().take(np.arange(self.n_rows))


def _check_unique(columns: list[Any], where: str, error: type[Exception]) -> None:
    repeated = {str(name): None for name in columns if columns.count(name) > 1}
    if repeated:
        raise error(f"{where} must not repeat names of columns, got {list(repeated)} more than once: rename them.")


def read_var(element: Any) -> pd.DataFrame:
    """Return a stored ``var``; names are strings, as anndata makes them, so that those of several files compare."""
    return stored_frame(element).read()


def stored_frame(element: Any, open_values: Callable[[Any], Values] | None = None) -> StoredFrame:
    """Open a stored DataFrame.

    Raises
    ------
    StoreError
        If it is not a group of columns, as anndata has written it since version 0.7.
    """
    encoding, lacking = encoding_of(element), {"column-order", "_index"} - set(element.attrs)
    if encoding != "dataframe" or lacking:
        got = f"one without the attribute {min(lacking)!r}" if encoding == "dataframe" else repr(encoding)
        raise StoreError(
            f"{where(element)} must be a data frame in anndata's encoding, got {got}: rewrite the "
            "file with a current anndata, or read it with `anndata.read_h5ad`: `Loader.add_adata` takes the object, "
            "`DatasetCollection.add_adatas` the function, as `load_adata`."
        )
    return StoredFrame(element, open_values)
