"""Integers that a collection holds, and that floats in new inputs would round: no dtype holds both."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from ..._arrays.exact import may_round
from ..._arrays.open import open_rows
from ..._arrays.values import first_rounded
from ..._plan.pieces import Pieces
from ..._plan.ranges import item_size
from ...errors import StoreError
from .._inputs.chosen import HELD
from .._inputs.columns import ColumnInfo, convert
from .._inputs.matrices import MatrixInfo
from .._inputs.narrow import InexactError
from .._inputs.open import name_of, open_input
from .names import AT_ONCE
from .schema import TableSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._inputs.open import Source
    from .schema import InputInfo, Schema

_ADVICE = "give the new inputs its dtype with `load_adata`."
_VALUES = 1 << 20
"""Values that are read at a time."""


def refuse_rounded(schema: Schema, held: InputInfo, datasets: Sequence[Source]) -> None:
    """Raise if new rows make floats of a matrix or column, and the collection holds integers that floats would round.

    Only such matrices and columns are read, of 64-bit integers that were not narrowed.
    """
    columns = [
        (path, name, column.dtype)
        for path, element in schema.elements.items()
        for name, column in (element.columns.items() if isinstance(element, TableSchema) else ())
        if column.kind == "plain" and column.dtype.kind == "f" and _may_round(held, path, column.dtype, name)
    ]
    for dataset in datasets if columns else ():
        _check_columns(columns, dataset)
    for path, element in schema.elements.items():
        if not isinstance(element, TableSchema) and _may_round(held, path, element.dtype):
            for dataset in datasets:
                _check_matrix(dataset, path, element.dtype)


def _may_round(held: InputInfo, path: str, dtype: np.dtype, name: str | None = None) -> bool:
    element = held.elements[path]
    known = element if isinstance(element, MatrixInfo) else element.get(name or "")
    return known is not None and may_round(known.dtype, dtype)


def _check_columns(columns: list[tuple[str, str, np.dtype]], dataset: Source) -> None:
    with open_input(dataset, None, HELD) as opened:
        for (path, name, dtype), start in itertools.product(columns, range(0, opened.n_obs, AT_ONCE)):
            column, stop = opened.tables[path][name], min(start + AT_ONCE, opened.n_obs)
            try:
                convert(column.read(start, stop), column.info, ColumnInfo("plain", dtype))
            except InexactError as error:
                raise StoreError(f"Column {name!r} of `{path}` of {opened.name} {error}: {_ADVICE}") from None


def _check_matrix(dataset: Source, path: str, dtype: np.dtype) -> None:
    array = open_rows(dataset[path]).arrays[0]  # type: ignore[index]  # datasets of collections are groups
    item = item_size(array.shape)
    step = max(1, _VALUES // max(1, item))
    for start in range(0, array.shape[0] if may_round(array.dtype, dtype) else 0, step):
        count = min(step, array.shape[0] - start)
        values = np.empty(count * item, array.dtype)
        for job in array.jobs(Pieces(*(np.array([number]) for number in (start, count, 0))), values, n_jobs=1):
            job()
        rounded = first_rounded(values, dtype)
        if rounded is not None:
            error = InexactError(rounded, dtype)
            raise StoreError(f"`{path}` of {name_of(dataset)} {error}: {_ADVICE}")
