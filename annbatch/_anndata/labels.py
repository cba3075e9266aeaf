"""Labels: a column of ``obs`` over all datasets, as the integers that loss functions take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import unknown_names
from .._arrays.values import HeldValues
from .._warn import warn
from .columns import CategoricalColumn
from .joined_column import JoinedColumn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._plan.window_rows import DatasetRows
    from ..abc import Adapter
    from .columns import Column
    from .frames import ObsFrame


@dataclass(frozen=True, slots=True)
class LabelRequest:
    """The labels that a loader was asked for; see its parameters ``labels`` and ``classes``.

    Attributes
    ----------
    column
        Name of the column of ``obs``.
    classes
        Names of the classes, in the order of their numbers; None: those of the data.
    """

    column: str
    classes: pd.Index | None

    @staticmethod
    def of(labels: Any, classes: Any) -> LabelRequest | None:
        """Return the request of a loader's arguments; None if no labels are wanted."""
        if labels is None:
            if classes is not None:
                raise ValueError("`classes` must be left out where `labels` is None: they name the labels' classes.")
            return None
        if not isinstance(labels, str):
            raise TypeError(f"`labels` must be the name of one column of obs, got {labels!r}.")
        if classes is None:
            return LabelRequest(labels, None)
        if isinstance(classes, str) or not hasattr(classes, "__iter__"):
            raise TypeError(f"`classes` must be a list of names, got {classes!r}.")
        names = pd.Index(list(classes))
        if not len(names) or names.has_duplicates or names.hasnans:
            raise ValueError(f"`classes` must be different names, at least one, got {list(names)[:20]}.")
        return LabelRequest(labels, names)


class Labels:
    """The labels of all rows of a loader.

    Parameters
    ----------
    request
        Column and classes.
    frames
        ``obs`` of each dataset; None where it has none.
    dtype
        Dtype of the labels.

    Raises
    ------
    KeyError
        If a dataset has no such column.
    """

    def __init__(self, request: LabelRequest, frames: Sequence[ObsFrame | None], dtype: np.dtype) -> None:
        for frame in frames:
            columns = [] if frame is None else frame.columns
            if request.column not in columns:
                raise unknown_names("labels", "a column of obs in all datasets", [request.column], columns)
        self._request, self._frames, self._dtype = request, list(frames), dtype
        self._opened: tuple[JoinedColumn, pd.Index, np.ndarray] | None = None
        self.warned = False

    @staticmethod
    def of(request: LabelRequest | None, frames: Sequence[ObsFrame | None], adapter: Adapter | None) -> Labels | None:
        """Return the labels for a framework; None if none are wanted."""
        dtype = np.dtype("int64" if adapter is None else adapter.labels_dtype)
        return None if request is None else Labels(request, frames, dtype)

    @property
    def classes(self) -> pd.Index:
        """Names of the classes, by label."""
        return self._open()[1]

    def _open(self) -> tuple[JoinedColumn, pd.Index, np.ndarray]:
        """Return the column, the classes, and the label of each of the column's codes; the last is for -1."""
        if self._opened is None:
            name, classes = self._request.column, self._request.classes
            where = f"Column {name!r} of `obs`"
            column = JoinedColumn(
                [_categorical(frame.column(name), frame.n_rows, where) for frame in self._frames if frame is not None],
                where=where,
            )
            if column.categories is None:
                raise ValueError(f"{where} must have labels of one kind, got True or False beside 1 or 0.")
            known = column.categories.categories
            classes = known if classes is None else classes
            labels = np.append(classes.get_indexer(known), -1).astype(self._dtype)
            self._opened = column, classes, labels
        return self._opened

    def window(self, shares: Sequence[DatasetRows], n_rows: int) -> LabelsWindow:
        """Gather the labels of a window's ``n_rows`` rows."""
        column, _, labels = self._open()
        return LabelsWindow(labels[column.array(shares, n_rows)], self)

    def warn_of_missing(self) -> None:
        """Warn, once, that some rows have no label."""
        if not self.warned:
            self.warned = True
            rest = "" if self._request.classes is None else ", or one that `classes` lacks"
            warn(
                f"Rows of column {self._request.column!r} have no label{rest}: `batch['labels']` is -1 there. Leave "
                "such rows out of the loss (`ignore_index=-1` of PyTorch's `cross_entropy`) or of the loader."
            )


@dataclass(frozen=True, slots=True)
class LabelsWindow:
    """Labels of a window.

    Attributes
    ----------
    values
        ``(n_rows,)``; -1 where a row has none.
    labels
        Labels that they are part of.
    """

    values: np.ndarray
    labels: Labels

    def batch(self, start: int, stop: int) -> np.ndarray:
        """Return the labels of the rows ``start:stop``."""
        values = self.values[start:stop]
        if not self.labels.warned and len(values) and values.min() < 0:
            self.labels.warn_of_missing()
        return values


def _categorical(column: Column, n_rows: int, where: str) -> CategoricalColumn:
    """Return a column as categories; strings, integers and booleans are read whole, and sorted."""
    if isinstance(column, CategoricalColumn):
        return column
    dtype = getattr(column.dtype, "numpy_dtype", column.dtype)
    if not (isinstance(dtype, pd.StringDtype) or getattr(dtype, "kind", "") in "biuO"):
        raise TypeError(
            f"{where} must be categories, strings, integers or booleans to be labels, got {column.dtype}; numbers to "
            "predict come with `obs_as='arrays'`."
        )
    values: Any = pd.Categorical(column.take(np.arange(n_rows)))
    return CategoricalColumn(HeldValues(np.asarray(values.codes)), values.dtype, where)
