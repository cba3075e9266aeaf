"""A data frame over all datasets of a loader, gathered one window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from .._arguments import did_you_mean
from .frames import LazyFrame
from .joined_column import JoinedColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._plan.window_rows import DatasetRows
    from .frames import ObsFrame
    from .variables import Join


class ObsTable:
    """Annotations of all rows of a loader: ``obs``, or a DataFrame in ``obsm``.

    Parameters
    ----------
    frames
        One per dataset; None where a dataset has none, so that its values are missing.
    columns
        Names of the columns; default, all.
    join
        ``"exact"``: all datasets have the columns. ``"inner"``, ``"outer"``: those that all have, or any has; what a
        dataset lacks is missing in its rows.
    partial
        Whether windows may have rows of no dataset, whose values are missing.
    key
        Key of the element, which errors name.

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
        join: Join = "exact",
        partial: bool = False,
        key: str = "obs",
    ) -> None:
        self._frames = list(frames)
        self._partial = partial
        self._key = key
        self.columns = _join_columns(self._frames, columns, join=join, key=key)
        names = {frame.index_name for frame in self._frames if frame is not None}
        self._index_name = names.pop() if len(names) == 1 else None
        self._open: dict[str, JoinedColumn] = {}
        self._names: JoinedColumn | None = None

    @property
    def is_lazy(self) -> bool:
        """Whether anndata reads some of the data, which reads a whole column to open it."""
        return any(isinstance(frame, LazyFrame) for frame in self._frames)

    def column(self, name: str) -> JoinedColumn:
        """Return a column over all datasets; it is opened at its first use."""
        if name not in self._open:
            parts = [
                None if frame is None or name not in frame.columns else frame.column(name) for frame in self._frames
            ]
            self._open[name] = JoinedColumn(parts, partial=self._partial, where=f"Column {name!r} of `{self._key}`")
        return self._open[name]

    def names(self) -> JoinedColumn:
        """Return the names of the rows of all datasets; they are opened at their first use."""
        if self._names is None:
            parts = [None if frame is None else frame.names() for frame in self._frames]
            self._names = JoinedColumn(parts, partial=self._partial, where=f"The index of `{self._key}`")
        return self._names

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
        """Gather a window's ``n_rows`` rows as one array per column, categoricals as codes."""
        return ArraysWindow({name: self.column(name).array(shares, n_rows) for name in self.columns})


class ObsWindow(Protocol):
    """Annotations of the rows of one window."""

    def batch(self, start: int, stop: int) -> Any:
        """Return the annotations of the rows ``start:stop`` of the window."""


@dataclass(frozen=True, slots=True)
class FrameWindow:
    """Annotations of a window as a DataFrame."""

    frame: pd.DataFrame

    def batch(self, start: int, stop: int) -> pd.DataFrame:
        """Return the rows as a separate DataFrame."""
        # The shallow copy releases the window: pandas 2 would warn of a slice when the user adds a column.
        return self.frame[start:stop].copy(deep=False)


@dataclass(frozen=True, slots=True)
class ArraysWindow:
    """Annotations of a window as one array per column."""

    columns: dict[str, np.ndarray]

    def batch(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return the rows of each column, as views."""
        return {name: column[start:stop] for name, column in self.columns.items()}


def _join_columns(
    frames: Sequence[ObsFrame | None], chosen: Sequence[str] | None, *, join: Join, key: str
) -> list[str]:
    """Return the names of the columns to yield; see :class:`ObsTable` for the errors it raises."""
    present = [(number, frame.columns) for number, frame in enumerate(frames) if frame is not None]
    have = list(present[0][1])
    for _, columns in present[1:] if join != "exact" else []:
        if join == "outer":
            have += [name for name in columns if name not in have]
        else:
            have = [name for name in have if name in columns]
    names = have if chosen is None else list(chosen)
    if join != "exact":
        unknown = [name for name in names if name not in have]
        if unknown:
            mean = did_you_mean(unknown, have)
            raise KeyError(f"`obs_columns` must be columns of `{key}`, got {unknown}{mean}; there are {have}.")
        return names
    for number, columns in present:
        missing = [name for name in names if name not in columns]
        if missing and chosen is not None:
            mean = did_you_mean(missing, columns)
            raise KeyError(
                f"`obs_columns` must be columns of {key}, got {missing}{mean}; dataset {number} has {columns}."
            )
        extra = [] if chosen is not None else [name for name in columns if name not in names]
        if missing or extra:
            raise ValueError(
                f"`{key}` must have the same columns in every dataset: dataset {number} lacks {missing} and adds "
                f"{extra} to those of dataset {present[0][0]}; choose common ones with `obs_columns`, or join them "
                "with `obs_join`."
            )
    return names
