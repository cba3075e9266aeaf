"""Rows sorted into groups within each dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._resources.threads import workers
from .._schema.conform import Conformed, check_same
from .._schema.schema import NAMES, SOURCE, Schema, TableSchema, column_key
from .order import GivenOrder, InputOrder, ShuffledOrder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._inputs.open import Opener
    from .._schema.survey import Survey
    from .order import Order

_TEXT_BYTES = 64 << 20  # bytes of names of rows, which are read with the columns, in memory at a time


def check_groupby(survey: Survey, groupby: Sequence[str] | None) -> None:
    """Raise ``ValueError`` if ``obs`` lacks a column, in all inputs or in some."""
    for name in groupby or ():
        lacking = [one.name for one in survey.inputs if name not in one.elements["obs"]]  # type: ignore[operator]
        if lacking and name != SOURCE:
            raise ValueError(
                f"`groupby` must name columns that `obs` has in all inputs, got {name!r}, not in {lacking[0]}."
            )


def ordered(
    survey: Survey,
    open_source: Opener,
    groupby: Sequence[str] | None,
    shuffle: bool,
    rows_per_dataset: int,
    seed: int,
) -> Order:
    """Return the order that a call requests: shuffled or not, sorted into groups or not."""
    order: Order = ShuffledOrder(seed) if shuffle else InputOrder(max(1, survey.n_obs))
    return order if groupby is None else grouped(survey, open_source, groupby, order, rows_per_dataset)


def grouped(
    survey: Survey, open_source: Opener, groupby: Sequence[str], order: Order, rows_per_dataset: int
) -> GivenOrder:
    """Return an order in which each dataset has the same rows as in ``order``, sorted by columns of ``obs``.

    Rows of one group keep their order. Categories sort in the order of the categories, other values in ascending order;
    missing values come last.
    """
    n_obs = survey.n_obs
    ranked = order.arrange(order.keys(0, n_obs), np.arange(n_obs))
    position = np.empty(n_obs, np.int64)
    position[ranked] = np.arange(n_obs)
    codes = [_codes(values) for values in _columns(survey, open_source, groupby)]
    sorted_rows = np.lexsort((position, *reversed(codes), position // rows_per_dataset))
    position[sorted_rows] = np.arange(n_obs)
    return GivenOrder(position)


def _columns(survey: Survey, open_source: Opener, groupby: Sequence[str]) -> list[pd.Series]:
    obs = survey.schema.elements["obs"]
    assert isinstance(obs, TableSchema)
    only = TableSchema({name: obs.columns[name] for name in groupby})
    schema = Schema(survey.schema.annotations, {"obs": only}, survey.schema.with_source)
    parts: list[list[np.ndarray]] = [[] for _ in groupby]
    with workers("group") as reading:
        for source, described in zip(survey.sources, survey.inputs, strict=True):
            with open_source(source) as opened:
                check_same(opened, described)
                conformed, start = Conformed(opened, described.annotations, schema, {}, reading), 0
                while True:
                    block, _ = conformed.read(start, described.n_obs, _TEXT_BYTES)
                    start += len(block[NAMES])
                    for part, name in zip(parts, groupby, strict=True):
                        part.append(block[column_key("obs", name)].values)  # type: ignore[union-attr]
                    if start == described.n_obs:
                        break
    return [
        pd.Series(only.columns[name].assemble(np.concatenate(part))) for part, name in zip(parts, groupby, strict=True)
    ]


def _codes(values: pd.Series) -> np.ndarray:
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = values.cat.codes.to_numpy().astype(np.int64)
    else:
        codes = pd.factorize(values, sort=True, use_na_sentinel=True)[0].astype(np.int64)
    codes[codes < 0] = np.iinfo(np.int64).max
    return codes
