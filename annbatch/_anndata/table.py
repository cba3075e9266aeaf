"""The annotations of a loader's rows: one column over all datasets, gathered a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from .columns import memory_column, stored_column
from .joined_column import UnitedColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._plan.window_rows import DatasetRows
    from .columns import Column


class ObsFrame(Protocol):
    """One dataset's annotations, opened a column at a time."""

    columns: list[str]
    n_rows: int
    index_name: Any

    def column(self, name: str) -> Column:
        """Open a column."""

    def names(self) -> Column:
        """Open the rows' names."""


class MemoryFrame:
    """A DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = list(frame.columns)
        self.n_rows = len(frame)
        self.index_name = frame.index.name
        self._frame = frame

    def column(self, name: str) -> Column:
        """Open a column."""
        return memory_column(self._frame[name].array)

    def names(self) -> Column:
        """Open the rows' names."""
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
        """Open the rows' names."""
        return memory_column(pd.Index(np.asarray(self._frame.true_index)).array)


class StoredFrame:
    """An ``obs`` group in anndata's encoding; nothing of it is read before it is asked for."""

    def __init__(self, group: Any) -> None:
        self.columns = [str(name) for name in group.attrs["column-order"]]
        self._group = group
        self._names = group[group.attrs["_index"]]
        self.index_name = _index_name(str(group.attrs["_index"]))
        self.n_rows = int((self._names["values"] if hasattr(self._names, "keys") else self._names).shape[0])

    def column(self, name: str) -> Column:
        """Open a column."""
        return stored_column(self._group[name])

    def names(self) -> Column:
        """Open the rows' names."""
        return stored_column(self._names)

    def read_names(self) -> Any:
        """Return the names of all rows."""
        return self.names().take(np.arange(self.n_rows))


def _index_name(stored: str) -> str | None:
    """Return the name of an index that is stored under a name: anndata stores one without a name as ``_index``."""
    return None if stored == "_index" else stored


def stored_frame(element: Any) -> StoredFrame:
    """Open a stored DataFrame.

    Raises
    ------
    TypeError
        If it is not in anndata's encoding of today, which is a group of columns.
    """
    if element.attrs.get("encoding-type") != "dataframe" or "column-order" not in element.attrs:
        raise TypeError(
            f"`{element.name.strip('/')}` must be a data frame in anndata's encoding, got "
            f"{element.attrs.get('encoding-type')!r}: write the file anew with anndata, or load it and add that."
        )
    return StoredFrame(element)


class ObsTable:
    """The annotations of all rows of a loader: its ``obs``, or a DataFrame in ``obsm``.

    Parameters
    ----------
    frames
        One a dataset; None where a dataset has none, so that its rows' values are missing.
    columns
        Which columns; default, all.
    join
        ``"exact"``: all datasets have the columns. ``"inner"``, ``"outer"``: those that all have, or any has; what a
        dataset lacks is missing in its rows.
    partial
        Whether windows may have rows of no dataset, whose values are missing.
    key
        What errors call it.

    Raises
    ------
    KeyError
        If a column of ``columns`` does not exist.
    ValueError
        If a column exists in some datasets only, and ``join`` is ``"exact"``.
    """

    def __init__(
        self,
        frames: Sequence[ObsFrame | None],
        columns: Sequence[str] | None = None,
        *,
        join: str = "exact",
        partial: bool = False,
        key: str = "obs",
    ) -> None:
        self._frames = list(frames)
        self._partial = partial
        self.columns = join_columns(self._frames, columns, join=join, key=key)
        names = {frame.index_name for frame in self._frames if frame is not None}
        self._index_name = names.pop() if len(names) == 1 else None
        self._open: dict[str | None, UnitedColumn] = {}

    def column(self, name: str) -> UnitedColumn:
        """Return a column over all datasets; opened at its first use."""
        if name not in self._open:
            parts = [
                None if frame is None or name not in frame.columns else frame.column(name) for frame in self._frames
            ]
            self._open[name] = UnitedColumn(parts, partial=self._partial)
        return self._open[name]

    def names(self) -> UnitedColumn:
        """Return the rows' names over all datasets; opened at their first use."""
        if None not in self._open:
            parts = [None if frame is None else frame.names() for frame in self._frames]
            self._open[None] = UnitedColumn(parts, partial=self._partial)
        return self._open[None]

    def categories(self) -> dict[str, pd.Index]:
        """Return the categories of every categorical column."""
        dtypes = {name: self.column(name).categories for name in self.columns}
        return {name: dtype.categories for name, dtype in dtypes.items() if dtype is not None}

    def frame(self, shares: Sequence[DatasetRows], n_rows: int) -> FrameWindow:
        """Gather a window's ``n_rows`` rows as a DataFrame."""
        gathered = {name: self.column(name).series(shares, n_rows) for name in self.columns}
        index = pd.Index(self.names().series(shares, n_rows), name=self._index_name)
        return FrameWindow(pd.DataFrame(gathered, index=index, copy=False))

    def arrays(self, shares: Sequence[DatasetRows], n_rows: int) -> ArraysWindow:
        """Gather a window's ``n_rows`` rows as one array a column, categoricals as codes."""
        return ArraysWindow({name: self.column(name).array(shares, n_rows) for name in self.columns})


class ObsWindow(Protocol):
    """The annotations of one window's rows."""

    def batch(self, start: int, stop: int) -> Any:
        """Return those of the rows ``start:stop`` of the window."""


@dataclass(frozen=True, slots=True)
class FrameWindow:
    """As a DataFrame."""

    frame: pd.DataFrame

    def batch(self, start: int, stop: int) -> pd.DataFrame:
        """Return the rows as a DataFrame of their own."""
        # The shallow copy lets go of the window: pandas 2 would warn of a slice when the user adds a column.
        return self.frame[start:stop].copy(deep=False)


@dataclass(frozen=True, slots=True)
class ArraysWindow:
    """As one array a column."""

    columns: dict[str, np.ndarray]

    def batch(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return the rows of every column, as views."""
        return {name: column[start:stop] for name, column in self.columns.items()}


def join_columns(frames: Sequence[ObsFrame | None], chosen: Sequence[str] | None, *, join: str, key: str) -> list[str]:
    """Return the names of the columns to yield; raise as :class:`ObsTable` does."""
    present = [(number, frame.columns) for number, frame in enumerate(frames) if frame is not None]
    have = list(present[0][1])
    for _, columns in present[1:] if join != "exact" else []:
        if join == "outer":
            have += [name for name in columns if name not in have]
        else:
            have = [name for name in have if name in columns]
    wanted = have if chosen is None else list(chosen)
    if join != "exact":
        unknown = [name for name in wanted if name not in have]
        if unknown:
            raise KeyError(f"`obs_columns` must be columns of `{key}`, got {unknown}; there are {have}.")
        return wanted
    for number, columns in present:
        missing = [name for name in wanted if name not in columns]
        if missing and chosen is not None:
            raise KeyError(f"`obs_columns` must be columns of {key}, got {missing}; dataset {number} has {columns}.")
        extra = [] if chosen is not None else [name for name in columns if name not in wanted]
        if missing or extra:
            raise ValueError(
                f"`{key}` must have the same columns in every dataset: dataset {number} lacks {missing} and adds "
                f"{extra} to those of dataset {present[0][0]}; choose common ones with `obs_columns`, or join them "
                "with `obs_join`."
            )
    return wanted
