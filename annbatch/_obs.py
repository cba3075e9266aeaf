"""The annotations of a loader's rows: one column over all datasets, gathered a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

if TYPE_CHECKING:
    from collections.abc import Sequence


class ObsFrame(Protocol):
    """One dataset's annotations, read a column at a time."""

    columns: list[str]

    def column(self, name: str) -> Any:
        """Return a column: a NumPy array, a ``pd.Categorical`` or another pandas array."""

    def names(self) -> Any:
        """Return the rows' names, as a pandas Index."""


class MemoryFrame:
    """A DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = list(frame.columns)
        self._frame = frame

    def column(self, name: str) -> Any:
        """Return a column."""
        return self._frame[name].array

    def names(self) -> Any:
        """Return the rows' names."""
        return self._frame.index


class StoredFrame:
    """An ``obs`` group in anndata's encoding; nothing of it is read before it is asked for."""

    def __init__(self, group: Any) -> None:
        self.columns = [str(name) for name in group.attrs["column-order"]]
        self._group = group

    def column(self, name: str) -> Any:
        """Return a column."""
        from anndata.io import read_elem

        return pd.Series(read_elem(self._group[name])).array

    def names(self) -> Any:
        """Return the rows' names."""
        from anndata.io import read_elem

        return pd.Index(read_elem(self._group[self._group.attrs["_index"]]))


class ObsTable:
    """The annotations of all rows of a loader.

    Columns are read when they are first needed and then held in memory. Categoricals are united over the datasets, so
    that a code means the same category in every batch.

    Parameters
    ----------
    frames
        One a dataset.
    columns
        Which columns; default, all.

    Raises
    ------
    KeyError
        If a column of ``columns`` does not exist.
    ValueError
        If a column exists in some datasets only.
    """

    def __init__(self, frames: Sequence[ObsFrame], columns: Sequence[str] | None = None) -> None:
        self._frames = list(frames)
        self.columns = list(frames[0].columns) if columns is None else list(columns)
        for position, frame in enumerate(frames):
            _check_columns(self.columns, frame, position, chosen=columns is not None)
        self._loaded: dict[str, Any] = {}
        self._names: pd.Index | None = None

    def column(self, name: str) -> Any:
        """Return a whole column over all datasets, in row order."""
        if name not in self._loaded:
            self._loaded[name] = _unite([frame.column(name) for frame in self._frames])
        return self._loaded[name]

    def categories(self, name: str) -> pd.Index | None:
        """Return the categories of a column over all datasets, or None if it is not categorical."""
        column = self.column(name)
        return column.categories if isinstance(column, pd.Categorical) else None

    def names(self) -> pd.Index:
        """Return the names of all rows."""
        if self._names is None:
            names = [frame.names() for frame in self._frames]
            self._names = names[0].append(names[1:]) if len(names) > 1 else names[0]
        return self._names

    def frame(self, rows: np.ndarray) -> FrameWindow:
        """Gather rows as a DataFrame."""
        gathered = {name: self.column(name).take(rows) for name in self.columns}
        return FrameWindow(pd.DataFrame(gathered, index=self.names().take(rows), columns=self.columns, copy=False))

    def arrays(self, rows: np.ndarray) -> ArraysWindow:
        """Gather rows as one array a column, categoricals as their codes."""
        arrays = {}
        for name in self.columns:
            column = self.column(name)
            arrays[name] = np.asarray(column.codes if isinstance(column, pd.Categorical) else column)[rows]
        return ArraysWindow(arrays)


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
        return self.frame.iloc[start:stop].copy(deep=False)


@dataclass(frozen=True, slots=True)
class ArraysWindow:
    """As one array a column."""

    columns: dict[str, np.ndarray]

    def batch(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return the rows of every column, as views."""
        return {name: column[start:stop] for name, column in self.columns.items()}


def _check_columns(wanted: list[str], frame: ObsFrame, position: int, *, chosen: bool) -> None:
    missing = [name for name in wanted if name not in frame.columns]
    if missing and chosen:
        raise KeyError(f"`obs_columns` must be columns of obs, got {missing}; dataset {position} has {frame.columns}.")
    extra = [] if chosen else [name for name in frame.columns if name not in wanted]
    if missing or extra:
        raise ValueError(
            f"`obs` must have the same columns in every dataset: dataset {position} lacks {missing} and adds {extra} "
            "to those of dataset 0; choose common ones with `obs_columns`."
        )


def _unite(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(part, pd.Categorical) for part in parts):
        if all(part.dtype == parts[0].dtype for part in parts):
            return pd.Categorical.from_codes(np.concatenate([part.codes for part in parts]), dtype=parts[0].dtype)
        return union_categoricals(parts, ignore_order=True)
    return pd.concat([pd.Series(part) for part in parts], ignore_index=True).array
