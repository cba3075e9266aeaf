"""Groups of rows: by the labels of columns of ``obs``, or by labels that a caller gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from .._arguments import kind_of, unknown_names
from .._plan.window_rows import rows_by_dataset
from .._sizes import format_bytes
from .._warn import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .datasets import Datasets

GroupBy: TypeAlias = "str | Sequence[str] | np.ndarray | pd.Series | pd.Index | pd.Categorical"
"""What rows are grouped by, as users name it."""

_BYTES = 88
"""Bytes per group and column of sums; results take fewer."""


@dataclass(frozen=True, slots=True)
class RowGroups:
    """The groups of some rows, all of which have at least one.

    Attributes
    ----------
    names
        Names of the groups, in the order of their categories.
    of_rows
        ``(n_obs,)`` number of each row's group; the number of groups for rows without a label.
    """

    names: pd.Index
    of_rows: np.ndarray

    @classmethod
    def of(cls, groupby: Any, datasets: Datasets, rows: np.ndarray) -> RowGroups:
        """Return the groups of some rows by a column, by several, or by an array of labels.

        Raises
        ------
        KeyError
            If there is no such column.
        TypeError
            If values are no labels.
        ValueError
            If there is not one label per row, or no row has one.
        """
        labels = _labels(groupby, datasets)
        labelled = rows[np.logical_and.reduce([column.codes[rows] >= 0 for column in labels.values()])]
        if len(labelled) < len(rows):
            which = (
                f" in column{'s' * (len(labels) > 1)} {', '.join(map(repr, labels))}" if column_names(groupby) else ""
            )
            if not len(labelled):
                raise ValueError(f"`groupby` must give labels to rows, got none{which} for {len(rows):,} rows.")
            warn(f"Rows without a label{which} are in no group: {len(rows) - len(labelled):,} of {len(rows):,}.")
        sizes = [len(column.categories) for column in labels.values()]
        combined = np.ravel_multi_index([column.codes[labelled].astype(np.int64) for column in labels.values()], sizes)
        found, numbers = np.unique(combined, return_inverse=True)
        of_rows = np.full(datasets.n_obs, len(found), np.int32)
        of_rows[labelled] = numbers
        codes = np.unravel_index(found, sizes)
        names = [
            column.categories[part].rename(name) for (name, column), part in zip(labels.items(), codes, strict=True)
        ]
        return cls(pd.MultiIndex.from_arrays(names) if isinstance(groupby, list | tuple) else names[0], of_rows)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of rows in each group, of those given."""
        counts: np.ndarray = np.bincount(self.of_rows[rows], minlength=len(self.names) + 1)[:-1]
        return counts

    def check_memory(self, width: int, limit: int) -> None:
        """Raise ``ValueError`` if the sums of all columns and groups need more bytes than ``limit``."""
        needed = width * len(self.names) * _BYTES
        if needed > limit:
            raise ValueError(
                f"`memory_limit` must be at least {format_bytes(needed)} for {len(self.names):,} groups of {width:,} "
                f"columns, got {format_bytes(limit)}: raise it, choose columns (`var_names` of a loader) or rows "
                "(`rows`), or group by fewer columns of obs."
            )


def column_names(groupby: Any) -> list[str]:
    """Return the names of columns that rows are grouped by; none where ``groupby`` is an array of labels.

    Raises
    ------
    TypeError
        If it is neither.
    """
    names = [groupby] if isinstance(groupby, str) else groupby
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return list(dict.fromkeys(names))
    if isinstance(groupby, list | tuple) or getattr(groupby, "ndim", None) != 1:
        must = "a column of obs, a list of columns, or an array with one label per row"
        raise TypeError(f"`groupby` must be {must}, got {kind_of(groupby)}.")
    return []


def _labels(groupby: Any, datasets: Datasets) -> dict[Any, pd.Categorical]:
    """Return the labels of all rows by name of their column, which is None for an array without a name."""
    names, n_obs = column_names(groupby), datasets.n_obs
    if not names:
        if len(groupby) != n_obs:
            raise ValueError(f"`groupby` must have one label per row of the data ({n_obs:,}), got {len(groupby):,}.")
        return {getattr(groupby, "name", None): pd.Categorical(groupby)}
    table, shares = datasets.obs(), rows_by_dataset(np.arange(n_obs), datasets.starts)
    columns = [] if table is None else table.columns
    unknown = [name for name in names if name not in columns]
    if table is None or unknown:
        raise unknown_names("groupby", "columns of obs that the loader reads", unknown, columns)
    return {name: pd.Categorical(table.column(name).series(shares, n_obs)) for name in names}
