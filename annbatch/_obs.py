"""The annotations of a loader's rows: one column over all datasets, gathered a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from ._columns import CategoricalColumn, Column, PlainColumn, memory_column, stored_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._plan import DatasetRows


class ObsFrame(Protocol):
    """One dataset's annotations, opened a column at a time."""

    columns: list[str]

    def column(self, name: str) -> Column:
        """Open a column."""

    def names(self) -> Column:
        """Open the rows' names."""


class MemoryFrame:
    """A DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.columns = list(frame.columns)
        self._frame = frame

    def column(self, name: str) -> Column:
        """Open a column."""
        return memory_column(self._frame[name].array)

    def names(self) -> Column:
        """Open the rows' names."""
        return memory_column(self._frame.index.array)


class StoredFrame:
    """An ``obs`` group in anndata's encoding; nothing of it is read before it is asked for."""

    def __init__(self, group: Any) -> None:
        self.columns = [str(name) for name in group.attrs["column-order"]]
        self._group = group

    def column(self, name: str) -> Column:
        """Open a column."""
        return stored_column(self._group[name])

    def names(self) -> Column:
        """Open the rows' names."""
        return stored_column(self._group[self._group.attrs["_index"]])


class UnitedColumn:
    """A column over all datasets, gathered into window order.

    Categoricals are united, so that a code means the same category in every batch: where datasets differ, categories
    come in the order in which they first appear, without an order of their own.
    """

    def __init__(self, parts: Sequence[Column]) -> None:
        self._parts = parts
        self._recode: list[np.ndarray | None] = [None] * len(parts)
        self.dtype: pd.CategoricalDtype | None = None
        numbers = [part.values.dtype for part in parts if isinstance(part, PlainColumn)]
        # Of the whole column, so that it does not depend on which datasets' rows are in a batch.
        alike = len(numbers) == len(parts) and all(dtype.kind in "biuf" for dtype in numbers)
        self._number = np.result_type(*numbers) if alike else None
        if all(isinstance(part, CategoricalColumn) for part in parts):
            self.dtype, self._recode = _unite([part.dtype for part in parts if isinstance(part, CategoricalColumn)])

    def array(self, shares: Sequence[DatasetRows]) -> np.ndarray:
        """Gather a window's rows as a NumPy array; categoricals as codes."""
        parts = [self._values(share) for share in shares]
        dtype = self._number
        if dtype is None:
            dtype = np.result_type(*parts) if parts else np.dtype(np.float64)
        out = np.empty(sum(len(part) for part in parts), dtype=dtype)
        for share, part in zip(shares, parts, strict=True):
            out[share.positions] = part
        return out

    def series(self, shares: Sequence[DatasetRows]) -> Any:
        """Gather a window's rows as what a DataFrame holds."""
        if self.dtype is not None:
            return pd.Categorical.from_codes(self.array(shares), dtype=self.dtype, validate=False)
        if self._number is not None or not shares:
            return self.array(shares)
        parts = [self._parts[share.dataset].take(share.rows) for share in shares]
        place = np.empty(sum(len(share.rows) for share in shares), dtype=np.int64)
        place[np.concatenate([share.positions for share in shares])] = np.arange(len(place))
        joined = (
            parts[0] if len(parts) == 1 else pd.concat([pd.Series(part) for part in parts], ignore_index=True).array
        )
        return joined.take(place)

    def _values(self, share: DatasetRows) -> np.ndarray:
        part = self._parts[share.dataset]
        if self.dtype is None or not isinstance(part, CategoricalColumn):
            return np.asarray(part.take(share.rows))
        codes, recode = part.codes.take(share.rows), self._recode[share.dataset]
        return codes if recode is None else recode[codes]


def _unite(dtypes: list[pd.CategoricalDtype]) -> tuple[pd.CategoricalDtype, list[np.ndarray | None]]:
    """Return a dtype for all, and for each the new code of every old one (missing, -1, finds the last entry)."""
    if all(dtype == dtypes[0] and dtype.categories.equals(dtypes[0].categories) for dtype in dtypes):
        return dtypes[0], [None] * len(dtypes)
    categories = dtypes[0].categories
    for dtype in dtypes[1:]:
        categories = categories.append(dtype.categories[~dtype.categories.isin(categories)])
    code_type = np.min_scalar_type(-max(2, len(categories)))
    recode = [np.append(categories.get_indexer(dtype.categories), -1).astype(code_type) for dtype in dtypes]
    return pd.CategoricalDtype(categories), list(recode)


class ObsTable:
    """The annotations of all rows of a loader.

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
        self._open: dict[str | None, UnitedColumn] = {}

    def column(self, name: str) -> UnitedColumn:
        """Return a column over all datasets; opened at its first use."""
        if name not in self._open:
            self._open[name] = UnitedColumn([frame.column(name) for frame in self._frames])
        return self._open[name]

    def names(self) -> UnitedColumn:
        """Return the rows' names over all datasets; opened at their first use."""
        if None not in self._open:
            self._open[None] = UnitedColumn([frame.names() for frame in self._frames])
        return self._open[None]

    def frame(self, shares: Sequence[DatasetRows]) -> FrameWindow:
        """Gather a window's rows as a DataFrame."""
        gathered = {name: self.column(name).series(shares) for name in self.columns}
        return FrameWindow(pd.DataFrame(gathered, index=pd.Index(self.names().series(shares)), copy=False))

    def arrays(self, shares: Sequence[DatasetRows]) -> ArraysWindow:
        """Gather a window's rows as one array a column, categoricals as codes."""
        return ArraysWindow({name: self.column(name).array(shares) for name in self.columns})


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
