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


def refuse_rounded(schema: Schema, held: Sequence[InputInfo], datasets: Sequence[Source]) -> None:
    """Raise if new rows make floats of a matrix or column, and a dataset holds integers that floats would round.

    Only such matrices and columns are read, of 64-bit integers that were not narrowed.

    Parameters
    ----------
    schema
        Schema of the datasets and the new rows.
    held
        Descriptions of the datasets.
    datasets
        The datasets of the collection.
    """
    for known, dataset in zip(held, datasets, strict=True):
        columns: list[tuple[str, str, np.dtype]] = []
        for path, element in schema.elements.items():
            found = known.elements.get(path)
            if isinstance(element, TableSchema) and isinstance(found, dict):
                columns += [
                    (path, name, column.dtype)
                    for name, column in element.columns.items()
                    if column.kind == "plain" and name in found and may_round(found[name].dtype, column.dtype)
                ]
            elif isinstance(element, TableSchema) or not isinstance(found, MatrixInfo):
                continue
            elif may_round(found.dtype, element.dtype):
                _check_matrix(dataset, path, element.dtype)
        if columns:
            _check_columns(columns, dataset)


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
