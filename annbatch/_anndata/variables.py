"""The columns of a batch, and the position there of each stored column of each dataset: names only, no I/O."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from .._arguments import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

Join: TypeAlias = Literal["exact", "inner", "outer"]


@dataclass(frozen=True, slots=True)
class Variables:
    """The columns of a batch.

    Attributes
    ----------
    var
        Annotations of the columns; None where the data has none.
    columns
        One per dataset: ``(n_stored_columns,)`` int32 position of each stored column in a batch, -1 for none. None
        where every column of every dataset keeps its position.
    count
        Number of columns.
    """

    var: pd.DataFrame | None
    columns: tuple[np.ndarray, ...] | None
    count: int

    def spread(self, present: Sequence[bool]) -> Variables:
        """Return a copy with an entry of ``columns`` for every dataset, empty for those that are not ``present``."""
        if self.columns is None:
            return self
        columns, nothing = iter(self.columns), np.empty(0, dtype=np.int32)
        return replace(self, columns=tuple(next(columns) if here else nothing for here in present))


def join_variables(
    frames: Sequence[pd.DataFrame | None], widths: Sequence[int], *, names: list[str] | None, join: Join
) -> Variables:
    """Determine the columns of a batch.

    Parameters
    ----------
    frames
        ``var`` of each dataset.
    widths
        Number of columns of each dataset.
    names
        Selected columns, in that order; None for all.
    join
        ``"exact"``: all datasets have the same columns. ``"inner"``: those that all datasets have, in the order of the
        first one. ``"outer"``: those that any dataset has, in an order that keeps the order of every dataset if there
        is one, else as they first appear.

    Raises
    ------
    ValueError
        If names are needed and a dataset has no ``var``, or names repeat.
    KeyError
        If a name of ``names`` does not exist.
    """
    if names is None and join == "exact":
        return Variables(frames[0], None, widths[0])
    indexes = [_index(frame, number) for number, frame in enumerate(frames)]
    if join == "exact":
        have = indexes[0]
    else:
        for number, index in enumerate(indexes):
            _check_unique(index, f"`var` of dataset {number}", "`var_names_make_unique` numbers them")
        have = indexes[0]
        if join == "outer":
            have = _merged(indexes)
        for index in indexes[1:] if join == "inner" else []:
            have = have[have.isin(index)]
    selected = have if names is None else _chosen(names, have)
    columns = tuple(_positions(index, selected) for index in indexes)
    if join == "exact" and frames[0] is not None:
        return Variables(frames[0].loc[selected], columns, len(selected))
    origin = {f"in_dataset_{number}": selected.isin(index) for number, index in enumerate(indexes)}
    return Variables(pd.DataFrame(origin, index=selected), columns, len(selected))


def check_same_var(first: pd.DataFrame, var: pd.DataFrame, number: int) -> None:
    """Raise ``ValueError`` unless a dataset has the columns of dataset 0, with the same annotations."""
    if first.equals(var):
        return
    different = [f"{a!r} / {b!r}" for a, b in zip(first.index, var.index, strict=True) if a != b]
    if different:
        what = f"{len(different)} names differ: {', '.join(different[:5])}"
    else:
        either = [*first.columns, *var.columns.difference(first.columns)]
        names = [name for name in either if not (name in first and name in var and first[name].equals(var[name]))]
        what = f"the names agree, annotations differ: {names[:5]}"
    raise ValueError(
        f"`var` must be the same in all datasets: between dataset 0 and dataset {number} {what}. "
        "`var_join` joins different genes while reading, `DatasetCollection.add_adatas` once and for all."
    )


def _index(frame: pd.DataFrame | None, number: int) -> pd.Index:
    if frame is None:
        raise ValueError(f"`var_names` and `var_join` need `var` in every dataset, got none in dataset {number}.")
    return frame.index


def _chosen(names: list[str], have: pd.Index) -> pd.Index:
    selected = pd.Index(names)
    _check_unique(selected, "`var_names`", "each can be yielded once")
    unknown = selected[~selected.isin(have)]
    if len(unknown):
        raise KeyError(
            f"`var_names` must be variables of the data, got {len(unknown)} that are not: {_some(unknown)}"
            f"{did_you_mean(unknown[:3], have)}."
        )
    repeated = have[have.duplicated()]
    ambiguous = selected[selected.isin(repeated)]
    if len(ambiguous):
        raise ValueError(
            f"`var_names` must name one column each, got {len(ambiguous)} that name several: {_some(ambiguous)}; "
            "`var_names_make_unique` numbers them."
        )
    return selected


def _check_unique(index: pd.Index, what: str, advice: str) -> None:
    repeated = index[index.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{what} must not repeat names, got {len(repeated)} that do: {_some(repeated)}; {advice}.")


def _merged(indexes: Sequence[pd.Index]) -> pd.Index:
    """Return all names in an order that keeps the order of each index; if there is none, as they first appear.

    Columns that keep their order need not be sorted in every row. Kahn's algorithm, first appearance first.
    """
    every = indexes[0]
    for index in indexes[1:]:
        every = every.append(index[~index.isin(every)])
    codes = {one.tobytes(): one for one in map(every.get_indexer, indexes)}.values()
    edges = np.unique(np.concatenate([np.stack([one[:-1], one[1:]], axis=1) for one in codes]), axis=0)
    left = np.bincount(edges[:, 1], minlength=len(every)).tolist()
    following = np.searchsorted(edges[:, 0], np.arange(len(every) + 1)).tolist()
    successors = edges[:, 1].tolist()
    free = [name for name, n in enumerate(left) if not n]  # ascending, so a heap
    order = []
    while free:
        name = heapq.heappop(free)
        order.append(name)
        for successor in successors[following[name] : following[name + 1]]:
            left[successor] -= 1
            if not left[successor]:
                heapq.heappush(free, successor)
    return every[order] if len(order) == len(every) else every


def _positions(index: pd.Index, selected: pd.Index) -> np.ndarray:
    """Return the position of each stored column among the selected ones, -1 for none."""
    return selected.get_indexer(index).astype(np.int32)


def _some(names: pd.Index) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown}, ..."
