"""Rows that are held out of training, chosen by values of columns: perturbations, cell lines, or both together."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from .._arguments import did_you_mean, wrong_kind

RowsWith: TypeAlias = Mapping[str, Any]
"""Rows by values of columns, all of which they have: ``{"line": "K562", "gene": ["AARS", "MYC"]}``."""

SOURCE = "src_path"
TRAIN = "train"

REST, CONTROL, NONE = -1, -2, -3
"""Numbers of rows that are not held out."""

_MOST_PATTERNS = 10_000
"""Patterns that one with alternatives in braces may stand for, as their number grows with each brace."""

_Conditions = tuple[dict[str, list[Any]], ...]


@dataclass(frozen=True, slots=True)
class Holdout:
    """What of the rows is held out, and for which part.

    Attributes
    ----------
    parts
        For each part, which rows it holds: those of any of its conditions, by lists of values of columns.
    control
        Values of columns of control rows, which stay in training; empty if there are none.
    train
        Which of the other rows are in training; None for all of them.
    """

    parts: Mapping[str, _Conditions]
    control: dict[str, list[Any]] = field(default_factory=dict)
    train: _Conditions | None = None

    @staticmethod
    def of(holdout: Any, control: RowsWith | None) -> Holdout:
        """Return what the arguments of :func:`~annbatch.samplers.split` ask for.

        Raises
        ------
        TypeError
            If ``holdout`` does not name parts, or a condition no columns.
        ValueError
            If there are no parts, or no values.
        """
        if isinstance(holdout, Holdout):
            if control is not None:
                raise ValueError("`control` must be left out where `holdout` was read from a file, which names it.")
            return holdout
        if not isinstance(holdout, Mapping):
            raise wrong_kind("holdout", "a dict of parts, as {'test': {'gene': ['AARS']}}", holdout, {})
        if not holdout or TRAIN in holdout:
            raise ValueError(f"`holdout` must name parts other than {TRAIN!r}, got {list(holdout)}.")
        parts = {name: _conditions(f"holdout[{name!r}]", rows) for name, rows in holdout.items()}
        return Holdout(parts, {} if control is None else _condition("control", control))

    @property
    def columns(self) -> list[str]:
        """Columns of ``obs`` that are looked at."""
        every = [*(one for some in self.parts.values() for one in some), *(self.train or ()), self.control]
        return list(dict.fromkeys(column for one in every for column in one))

    def part_of(self, obs: pd.DataFrame, *, all_there: bool = True) -> np.ndarray:
        """Return the part of each row.

        Parameters
        ----------
        obs
            Annotations of the rows.
        all_there
            Whether there must be rows with each value.

        Returns
        -------
        numpy.ndarray
            ``(n_obs,)`` number of the part among those held out; or ``REST``, ``CONTROL``, which stays in training, or
            ``NONE`` for rows in no part.

        Raises
        ------
        KeyError
            If ``obs`` lacks a column.
        ValueError
            If a row would be in two parts, or no row has a value.
        """
        for column in self.columns:
            if column not in obs:
                mean = did_you_mean([column], obs.columns)
                raise KeyError(f"`holdout` must name columns of obs, got {column!r}{mean}; obs has {[*obs][:20]}.")
        kinds, kind_of_row = _distinct(obs[self.columns])
        look = partial(_rows_with, kinds, all_there=all_there)
        found = np.full(len(kinds), REST if self.train is None else NONE, np.int64)
        for condition in self.train or ():
            found[look(condition, "holdout")] = REST
        is_control = look(self.control, "control") if self.control else np.zeros(len(kinds), np.bool_)
        names = list(self.parts)
        for number, (name, conditions) in enumerate(self.parts.items()):
            for condition in conditions:
                mine = look(condition, f"holdout[{name!r}]")
                found[mine & is_control] = CONTROL
                mine &= ~is_control
                both = mine & (found >= 0) & (found != number)
                if both.any():
                    first = int(np.flatnonzero(both)[0])
                    raise ValueError(
                        f"`holdout` must hold out each row for one part, got rows for both {names[found[first]]!r} and "
                        f"{name!r}: {kinds.iloc[first].to_dict()}."
                    )
                found[mine] = number
        found[is_control & (found == REST)] = CONTROL
        of_row: np.ndarray = found[kind_of_row]
        return of_row

    def to_json(self) -> dict[str, Any]:
        """Return the same as JSON, for :meth:`from_json`."""
        train = None if self.train is None else list(self.train)
        return {
            "parts": {name: list(some) for name, some in self.parts.items()},
            "control": self.control,
            "train": train,
        }

    @staticmethod
    def from_json(content: Any) -> Holdout:
        """Return what :meth:`to_json` wrote; a ValueError or TypeError tells of anything else."""
        parts = {str(name): _conditions("parts", some) for name, some in dict(content["parts"]).items()}
        control = _condition("control", content["control"]) if content["control"] else {}
        return Holdout(parts, control, None if content["train"] is None else _conditions("train", content["train"]))


def _conditions(name: str, rows: Any) -> _Conditions:
    """Return the conditions of a part: one, or a list of them."""
    several = rows if isinstance(rows, list | tuple) else [rows]
    if not several and name != "train":
        raise ValueError(f"`{name}` must hold out some rows, got none.")
    return tuple(_condition(name, one) for one in several)


def _condition(name: str, rows: Any) -> dict[str, list[Any]]:
    if not isinstance(rows, Mapping) or not all(isinstance(column, str) for column in rows):
        advice = "values of columns, as {'line': 'K562', 'gene': ['AARS']}"
        raise TypeError(f"`{name}` must be {advice}, or a list of such dicts, got {rows!r}.")
    if not rows:
        raise ValueError(f"`{name}` must name a column, got none.")
    found = {column: _values(value) for column, value in rows.items()}
    empty = [column for column, values in found.items() if not values]
    if empty:
        raise ValueError(f"`{name}` must name values of {empty[0]!r}, got none.")
    for column, values in found.items():
        if nested := [one for one in values if not isinstance(one, Hashable)]:
            raise TypeError(f"`{name}` must name single values of {column!r}, got {nested[0]!r:.80}.")
    return found


def _values(value: Any) -> list[Any]:
    several = not isinstance(value, str | bytes) and isinstance(value, Iterable)
    return [one.item() if isinstance(one, np.generic) else one for one in (value if several else [value])]


def _distinct(obs: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Return one row of each kind, of which there are few, and the number of each row's kind."""
    codes = np.zeros(len(obs), np.int64)
    for column in obs:
        own, values = pd.factorize(obs[column])
        codes = pd.factorize(codes * (len(values) + 1) + own + 1)[0]
    first = np.unique(codes, return_index=True)[1]
    return obs.iloc[first], codes


def _rows_with(obs: pd.DataFrame, condition: Mapping[str, list[Any]], name: str, *, all_there: bool) -> np.ndarray:
    """Return which rows have all values of a condition."""
    rows = np.ones(len(obs), np.bool_)
    for column, values in condition.items():
        known = obs[column].drop_duplicates().dropna().tolist()
        if column == SOURCE:
            places = {value: [one for one in known if is_at(str(one), str(value))] for value in values}
        else:
            places = {value: [value] for value in set(values) & set(known)}
        unknown = [value for value in values if not places.get(value)]
        if unknown and all_there:
            mean = did_you_mean(unknown, known)
            raise ValueError(
                f"`{name}` must name values of {column!r} that rows have, got {unknown[:5]}{mean}{'?' if mean else '.'}"
            )
        rows &= obs[column].isin([one for some in places.values() for one in some]).to_numpy()
    return rows


def is_at(path: str, place: str) -> bool:
    """Return whether an input is at a place: a file, a folder that holds it, or a pattern.

    >>> (
    ...     is_at("/data/rpe1/a.h5ad", "/data/rpe1/"),
    ...     is_at("/data/k562.h5ad", "/data/{k562,rpe1}.h5*"),
    ... )
    (True, True)
    """
    for one in _expanded(place):
        if PurePath(path).is_relative_to(PurePath(one)) or fnmatch.fnmatchcase(path, one):
            return True
        if any(character in one for character in "*?[") and fnmatch.fnmatchcase(path, f"{one.rstrip('/')}/*"):
            return True
    return False


def _expanded(pattern: str) -> list[str]:
    """Return the patterns that one with alternatives in braces stands for."""
    found, remaining = [], [pattern]
    while remaining:
        one = remaining.pop()
        braces = re.search(r"\{([^{}]*)\}", one)
        if braces is None:
            found.append(one)
        else:
            before, after = one[: braces.start()], one[braces.end() :]
            remaining += [before + part.strip() + after for part in braces[1].split(",")]
        if len(found) + len(remaining) > _MOST_PATTERNS:
            raise ValueError(
                f"`holdout` must have places that stand for at most {_MOST_PATTERNS:,} patterns, got {pattern!r:.80}."
            )
    return found
