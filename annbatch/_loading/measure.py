"""One pass over the rows of a matrix, in stored order, of which only moments are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._anndata.keys import has_var_axis, split_key
from .._elements.measured import MeasuredColumns, MeasuredElement, MeasuredGroups
from .._plan.window_rows import DatasetRows, WindowRows, plan_window, rows_by_dataset
from ..samplers import SequentialSampler
from ..samplers._row_set import RowSet, as_rows
from .epoch import check_rows
from .row_groups import RowGroups
from .window import WindowPlan

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd

    from .._arrays.moments import Moments
    from .._elements.element import Element
    from ..samplers._row_set import RowsLike
    from .add_datasets import AddsDatasets
    from .datasets import Datasets
    from .row_groups import GroupBy
    from .stats import WorkLog

_AHEAD = 256 << 20
"""Bytes of windows that are read ahead: a few, so that all threads have work while one measures."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one pass over a matrix found.

    Attributes
    ----------
    names
        Names of its columns; None where it has none.
    columns
        Moments of its columns, of all rows that were read.
    rows
        ``(n_rows,)`` int64 rows that were read; rows that a modality lacks are left out.
    of_rows
        ``(n_rows, 2)`` float64: the sum of each row, and its number of non-zeros.
    groups
        Groups of rows; None without ``groupby``.
    by_group
        Moments of its columns, of the rows of each group.
    """

    names: pd.Index | None
    columns: Moments
    rows: np.ndarray
    of_rows: np.ndarray
    groups: RowGroups | None
    by_group: list[Moments]


def measure(
    loader: AddsDatasets, key: str, rows: RowsLike, groupby: GroupBy | None = None, *, memory_limit: int = 0
) -> Measured:
    """Read some rows of a matrix once, in stored order, and add them up, with ``groupby`` also by group.

    Raises
    ------
    KeyError
        If the loader reads no such matrix or column.
    TypeError
        If its values are not real numbers.
    ValueError
        If its rows have more than one dimension, or there are no such rows, or too many groups.
    """
    datasets, reading = loader._datasets, loader._reading
    check_rows(datasets)
    groups = None
    if groupby is not None:
        groups = RowGroups.of(groupby, datasets, np.asarray(RowSet(rows, datasets.n_obs)))
    element = datasets.measured(key, by_group=groups is not None)
    sampler = SequentialSampler(element.most_rows, 1, element.most_rows).of_rows(as_rows(rows))
    sampler.validate(datasets.n_obs)
    measured: MeasuredColumns | MeasuredGroups = MeasuredColumns(element)
    if groups is not None:
        assert isinstance(element, MeasuredElement)
        groups.check_memory(element.width, memory_limit)
        measured = MeasuredGroups(element, groups.of_rows, len(groups.names) + 1)
    numbers, of_rows = [np.empty(0, np.int64)], [np.empty((0, 2))]
    reading.direct_io.choose(datasets.sources())
    windows = reading.windows(_plans(datasets, key, measured.element, sampler, reading.log), budget=_AHEAD)
    try:
        for window in windows:
            numbers.append(window.rows.rows)
            of_rows.append(measured.add(window.elements[key], window.rows.rows))
    finally:
        reading.end(windows)
    var = datasets.variables(split_key(key)[0]).var if has_var_axis(key) else None
    names = None if var is None else var.index
    moments, by_group = measured.moments()
    return Measured(names, moments, np.concatenate(numbers), np.concatenate(of_rows), groups, by_group[:-1])


def _plans(
    datasets: Datasets, key: str, element: Element, sampler: SequentialSampler, log: WorkLog
) -> Generator[WindowPlan, None, None]:
    n_obs, starts, presence = datasets.n_obs, datasets.starts, datasets.presence(key)
    for number, request in enumerate(sampler.sample(n_obs)):
        window = plan_window(request, n_obs)
        shares = rows_by_dataset(window.rows, starts)
        if presence is not None:
            window, shares = _held(window, presence.shares(shares))
        plan = element.plan(window, shares)
        log.planned()
        yield WindowPlan(number, window, {key: plan}, {})


def _held(window: WindowRows, shares: list[DatasetRows]) -> tuple[WindowRows, list[DatasetRows]]:
    """Return the rows of a window that are in any of the shares, and the shares with their positions among them."""
    held = np.sort(np.concatenate([np.empty(0, np.int64), *(share.positions for share in shares)]))
    found = [DatasetRows(one.dataset, one.rows, np.searchsorted(held, one.positions)) for one in shares]
    return WindowRows(window.rows[held], np.array([0, len(held)])), found
