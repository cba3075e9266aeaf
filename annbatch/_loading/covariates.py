"""Covariates: what tables have for the group of each set of a batch, such as the embedding of its perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import kind_of

if TYPE_CHECKING:
    from .._elements.form import MatrixForm


@dataclass(frozen=True, slots=True)
class Covariates:
    """Rows of tables by group.

    Attributes
    ----------
    arrays
        By name, ``(n_groups, ...)`` what a table has for each group; undefined for groups of which no set is drawn.
    """

    arrays: Mapping[str, np.ndarray]

    def batch(self, groups: np.ndarray, form: MatrixForm) -> dict[str, Any]:
        """Return the rows of a batch's sets, as arrays of the adapter."""
        return {name: form.convert(array[groups]) for name, array in self.arrays.items()}


@dataclass(frozen=True, slots=True)
class CovariateTables:
    """The tables that a loader was given.

    Attributes
    ----------
    tables
        By name, rows under values of one column of the groups, or under tuples of the values of several.
    """

    tables: Mapping[str, pd.DataFrame | pd.Series[Any]]

    @staticmethod
    def of(covariates: Any) -> CovariateTables | None:
        """Return the tables of the argument of a loader.

        Raises
        ------
        TypeError
            If it is no dict of tables.
        ValueError
            If there are no tables, or one has a key twice, or values that are no numbers or too large.
        """
        if covariates is None:
            return None
        if not isinstance(covariates, Mapping):
            raise TypeError(f"`covariates` must be a dict of tables by name, got {kind_of(covariates)}.")
        if not covariates:
            raise ValueError("`covariates` must have at least one table, got none; None leaves them out.")
        return CovariateTables({name: _table(name, table) for name, table in covariates.items()})

    def by_group(self, groups: pd.DataFrame, drawn: np.ndarray) -> Covariates:
        """Look up the row of each group.

        Parameters
        ----------
        groups
            One row per group.
        drawn
            ``(n_groups,)`` bool; groups of which sets are drawn, and which each table must have.

        Raises
        ------
        ValueError
            If a table is of other columns than the groups, or lacks a group.
        """
        return Covariates({name: self._by_group(name, groups, drawn) for name in self.tables})

    def _by_group(self, name: str, groups: pd.DataFrame, drawn: np.ndarray) -> np.ndarray:
        table = self.tables[name]
        columns = _columns(name, table.index, list(groups.columns))
        keys = (
            groups[columns[0]].tolist() if len(columns) == 1 else [*groups[columns].itertuples(index=False, name=None)]
        )
        rows = table.index.get_indexer(pd.Index(keys, tupleize_cols=len(columns) > 1))
        lacking = list(dict.fromkeys(keys[number] for number in np.flatnonzero((rows < 0) & drawn)))
        if lacking:
            raise ValueError(
                f"`covariates[{name!r}]` must have a row for each value of {columns} of which sets are drawn, got none "
                f"for {len(lacking)}: {lacking[:5]}."
            )
        found: np.ndarray = _narrowed(table.to_numpy())[np.maximum(rows, 0)]
        return found


def _table(name: str, table: Any) -> pd.DataFrame | pd.Series[Any]:
    if isinstance(table, Mapping):
        rows = {key: np.asarray(value) for key, value in table.items()}
        if len(shapes := {row.shape for row in rows.values()}) != 1 or len(next(iter(shapes))) > 1:
            raise ValueError(f"`covariates[{name!r}]` must have vectors of one length, got {shapes or None}.")
        keys = pd.Index(list(rows))  # of tuples, a MultiIndex
        values = np.stack(list(rows.values()))
        table = pd.Series(values, keys) if values.ndim == 1 else pd.DataFrame(values, keys)
    if not isinstance(table, pd.DataFrame | pd.Series):
        raise TypeError(f"`covariates[{name!r}]` must be a DataFrame, a Series or a dict, got {kind_of(table)}.")
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"`covariates[{name!r}]` must have one row per key, got {twice!r} twice.")
    values = table.to_numpy()
    if values.dtype.kind not in "biuf":
        raise ValueError(f"`covariates[{name!r}]` must be numbers, got {values.dtype}.")
    lost = np.isfinite(values) & ~np.isfinite(_narrowed(values))
    if lost.any():
        raise ValueError(f"`covariates[{name!r}]` must be numbers that float32 holds, got {values[lost][0]}.")
    return table


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Return floats as float32, others as they are."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32) if values.dtype.kind == "f" else values


def _columns(name: str, index: pd.Index, columns: list[Any]) -> list[Any]:
    """Return the columns of the groups whose values are the keys of a table."""
    if all(column in columns for column in index.names):
        return list(index.names)
    if index.nlevels == 1 and name in columns:
        return [name]
    if index.nlevels == len(columns) and not any(index.names):
        return columns
    raise ValueError(
        f"`covariates[{name!r}]` must be keyed by columns of the groups, {columns}: those that its index names, or the "
        f"one that the table is called as; got {list(index.names)}."
    )
