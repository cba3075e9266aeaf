"""Groups of rows: the combinations of values of columns, numbered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import as_names, kind_of, unknown_names
from ._checks import check_weights, digest_of_codes
from ._row_set import RowSet, RowsLike

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GroupsLike = pd.DataFrame | pd.Series | pd.Categorical | str | list[str]
"""Groups as users name them: columns of all rows, or the names of columns of ``obs``."""


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The group of each row.

    Attributes
    ----------
    codes
        ``(n_obs,)`` int64 number of each row's group, -1 where a value is missing.
    table
        One row per group, in the order of its numbers: the value of each column.
    """

    codes: np.ndarray
    table: pd.DataFrame

    @staticmethod
    def of(frame: pd.DataFrame) -> Groups:
        """Return the combinations of values that the rows of a frame have, sorted by categories or values."""
        codes, n_codes, columns = np.zeros(len(frame), dtype=np.int64), 1, []
        for name in frame.columns:
            column = _categorical(frame[name])
            columns.append(column.categories)
            missing = (codes < 0) | (column.codes < 0)
            n_codes *= max(1, len(column.categories))
            if n_codes >= 2**62:
                raise ValueError(f"`groups` must have fewer than 2**62 combinations of categories, got {n_codes}.")
            codes = np.where(missing, -1, codes * len(column.categories) + column.codes)
        of_rows, there = pd.factorize(codes, sort=True)
        first = len(there) and there[0] < 0  # missing values sort first
        of_rows, there = of_rows - first, there[int(first) :]
        table = {}
        for name, categories in zip(frame.columns[::-1], columns[::-1], strict=True):
            there, values = np.divmod(there, max(1, len(categories)))
            table[name] = categories[values]
        return Groups(of_rows.astype(np.int64), pd.DataFrame(table, index=pd.RangeIndex(len(values)))[[*frame.columns]])

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return len(self.codes)

    def __len__(self) -> int:
        return len(self.table)

    def digest(self) -> str:
        """Return a short text that identifies the groups of all rows, the same in every process."""
        return digest_of_codes(self.codes)

    def label(self, code: int) -> str:
        """Return the values of a group as text.

        Examples
        --------
        >>> import pandas as pd
        >>> Groups.of(pd.DataFrame({"line": ["A", "B"], "drug": ["x", "y"]})).label(1)
        "line 'B', drug 'y'"
        """
        (row,) = self.table.iloc[[code]].astype(object).to_dict("records")
        return ", ".join(f"{name} {value!r}" for name, value in row.items())

    def weights(self, weights: Any) -> np.ndarray | None:
        """Return the weight of each group as an argument gives them; None: in proportion to rows."""
        if weights is None:
            return None
        if isinstance(weights, str):
            if weights != "uniform":
                raise ValueError(f"`group_weights` must be None, 'uniform' or weights, got {weights!r}.")
            return np.ones(len(self))
        if isinstance(weights, pd.Series | Mapping):
            weights = self._weights_by_label(weights)
        array = np.asarray(weights)
        if array.shape != (len(self),):
            raise ValueError(f"`group_weights` must have one weight per group ({len(self)},), got {array.shape}.")
        if array.dtype.kind not in "biuf":
            raise TypeError(f"`group_weights` must be numbers, got {array.dtype}.")
        return check_weights(array, "group_weights")

    def _weights_by_label(self, weights: Any) -> list[Any]:
        rows = [row if len(row) > 1 else row[0] for row in self.table.itertuples(index=False, name=None)]
        missing = [row for row in rows if row not in weights]
        if missing:
            raise ValueError(f"`group_weights` must have a weight for each of the {len(rows)} groups, got none for "
                             f"{missing[:5]}.")  # fmt: skip
        return [weights[row] for row in rows]


def _categorical(column: Any) -> pd.Categorical:
    """Return a column as a categorical; values are sorted."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return pd.Categorical(column)
    if column.dtype.kind in "fc":
        raise TypeError(
            f"Column {column.name!r} of groups or matches must be categories, strings, integers or booleans, got "
            f"{column.dtype}: make categories of it (`pandas.cut`)."
        )
    try:
        return pd.Categorical(column)
    except TypeError as error:
        raise TypeError(
            f"Column {column.name!r} of groups or matches must have values that are hashable: {error}."
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class ObsColumns:
    """Columns of ``obs`` that a sampler reads: those that it was given, and those that a loader lends.

    Attributes
    ----------
    given
        Columns of all rows.
    lent
        Columns of the loader's rows; None before there is a loader.
    """

    given: pd.DataFrame
    lent: pd.DataFrame | None = None

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return the names that only a loader has."""
        return [name for name in dict.fromkeys(names) if name not in self.given]

    def frame(self, names: Sequence[str], argument: str) -> pd.DataFrame:
        """Return columns of all rows.

        Raises
        ------
        KeyError
            If there is no such column.
        ValueError
            If columns come from a loader that the sampler does not have yet, or of another number of rows.
        """
        lacking = self.missing(names)
        if lacking and self.lent is None:
            raise ValueError(
                f"`{argument}` {lacking} must be columns of a loader's obs, got no loader yet: pass the sampler to "
                "`Loader(batch_sampler=...)`, or the columns as a DataFrame, `groups=obs[[...]]`."
            )
        if lacking and (unknown := [name for name in lacking if name not in self.lent]):  # type: ignore[operator]
            raise unknown_names(argument, "columns of obs", unknown, [*self.given, *self.lent])  # type: ignore[misc]
        return pd.DataFrame({name: self._column(name) for name in names})

    def _column(self, name: str) -> Any:
        return (self.given if name in self.given else self.lent)[name].array  # type: ignore[index]

    @staticmethod
    def of(groups: Any) -> tuple[ObsColumns, list[str]]:
        """Return the columns that an argument ``groups`` gives, and the names of those that make groups."""
        if isinstance(groups, str | list | tuple):
            names = as_names(groups, "groups")
            if not names:
                raise ValueError("`groups` must name at least one column of obs, got none.")
            return ObsColumns(pd.DataFrame()), names
        if isinstance(groups, pd.Categorical):
            groups = pd.Series(groups)
        if isinstance(groups, pd.Series):
            groups = groups.to_frame("group" if groups.name is None else groups.name)
        if not isinstance(groups, pd.DataFrame):
            raise TypeError(f"`groups` must be columns of obs or their names, got {kind_of(groups)}.")
        repeated = groups.columns[groups.columns.duplicated()]
        if len(repeated) or not len(groups.columns):
            raise ValueError(f"`groups` must have columns of different names, got {list(groups.columns)}.")
        return ObsColumns(groups), list(groups.columns)


def rows_where(rows: Any, columns: ObsColumns, argument: str) -> np.ndarray | None:
    """Return the rows that a mapping of columns to values describes, as a mask; None if ``rows`` is no mapping.

    Raises
    ------
    ValueError
        If no row has the values.
    """
    if not isinstance(rows, Mapping):
        return None
    if not rows:
        raise ValueError(f"`{argument}` must name at least one column, got none.")
    frame = columns.frame(list(rows), argument)
    chosen = np.ones(len(frame), dtype=bool)
    for name, values in rows.items():
        wanted = [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
        unknown = [value for value in wanted if value not in _categorical(frame[name]).categories]
        if unknown:
            known = list(_categorical(frame[name]).categories[:10])
            raise ValueError(f"`{argument}` must have values of column {name!r}, got {unknown}; it has {known}.")
        chosen &= frame[name].isin(wanted).to_numpy()
    if not chosen.any():
        raise ValueError(f"`{argument}` must describe at least one row, got none with {dict(rows)}.")
    return chosen


def check_described(rows: Any, argument: str) -> None:
    """Raise ``TypeError`` for the value of a column without its name."""
    if rows is None or isinstance(rows, str):
        raise TypeError(
            f"`{argument}` must be values of columns, as {{'drug': 'DMSO'}}, or a mask, row numbers or a RowSet, got "
            f"{rows!r}."
        )


def columns_of(rows: Any) -> list[str]:
    """Return the names of the columns that describe rows; none for masks and row numbers."""
    return list(rows) if isinstance(rows, Mapping) else []


def row_set(rows: RowsLike | Mapping[str, Any], columns: ObsColumns, n_obs: int, argument: str) -> RowSet:
    """Return rows that an argument describes by values of columns, or names."""
    from ._row_set import called

    mask = rows_where(rows, columns, argument)
    with called(argument):
        return RowSet(rows if mask is None else mask, n_obs)  # type: ignore[arg-type]  # a mapping made a mask
