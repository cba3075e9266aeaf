"""A column of annotations over all datasets, with one dtype that is known before any row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arrays.values import first_rounded
from .columns import CategoricalColumn, is_masked, nullable_dtype

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._plan.window_rows import DatasetRows
    from .columns import Column, Dtype

_MISSING: dict[str, Any] = {"f": np.nan, "c": np.nan, "O": None, "M": "NaT", "m": "NaT"}
"""Missing value per kind of dtype; other kinds have none."""


class JoinedColumn:
    """A column over all datasets, gathered one window at a time.

    Its dtype depends on the datasets alone, not on the rows of a window. Categories are joined, so that a code means
    the same category in every batch: where datasets differ, categories come in the order in which they first appear,
    and are not ordered. Categories that do not mix, as True and 1, become objects. Other dtypes are widened until all
    values fit; see :func:`common_dtype`. An integer that a common dtype of floats would round is an error.

    Parameters
    ----------
    parts
        One per dataset; None where a dataset has no such column, so that its values are missing.
    partial
        Whether windows may have rows of no dataset, whose values are missing.
    where
        Name of the column in errors.
    """

    def __init__(self, parts: Sequence[Column | None], *, partial: bool = False, where: str = "A column") -> None:
        self._parts = parts
        self._where = where
        self._recode: list[np.ndarray | None] = [None] * len(parts)
        self.categories: pd.CategoricalDtype | None = None
        present = [part for part in parts if part is not None]
        joined = _join_categories(parts) if all(isinstance(part, CategoricalColumn) for part in present) else None
        if joined is not None:
            self.categories, self._recode = joined
            self.dtype: Dtype = self.categories
            codes = [part.code_type for part in present if isinstance(part, CategoricalColumn)]
            self._code_type = np.result_type(*codes, *(recode for recode in self._recode if recode is not None))
        else:
            missing = partial or len(present) < len(parts)
            self.dtype = common_dtype([part.dtype for part in present], missing=missing)

    def array(self, shares: Sequence[DatasetRows], n_rows: int) -> np.ndarray:
        """Gather a window's rows as a NumPy array.

        Categoricals come as codes, -1 where missing; nullable integers and booleans as floats, NaN where missing, if
        any dataset may lack one; strings as objects, None where missing.
        """
        if self.categories is not None:
            return self._codes(shares, n_rows)
        if isinstance(self.dtype, np.dtype):
            return self._plain(shares, n_rows)
        gathered = self._extension(shares, n_rows)
        if is_masked(self.dtype):
            number = _number(self.dtype)
            small = number.kind in "biu" and number.itemsize <= 2
            dtype = number if number.kind == "f" else np.dtype("f4" if small else "f8")
            floats: np.ndarray = self._exact(gathered, dtype).to_numpy(dtype=dtype, na_value=np.nan)
            return floats
        if isinstance(self.dtype, pd.StringDtype):
            strings: np.ndarray = gathered.to_numpy(dtype=object, na_value=None)
            return strings
        return np.asarray(gathered)

    def series(self, shares: Sequence[DatasetRows], n_rows: int) -> Any:
        """Gather a window's rows as a column of a DataFrame."""
        if self.categories is not None:
            return pd.Categorical.from_codes(self._codes(shares, n_rows), dtype=self.categories, validate=False)
        if isinstance(self.dtype, np.dtype):
            return self._plain(shares, n_rows)
        return self._extension(shares, n_rows)

    def _codes(self, shares: Sequence[DatasetRows], n_rows: int) -> np.ndarray:
        out = np.full(n_rows, -1, dtype=self._code_type)
        for share in shares:
            part, recode = self._parts[share.dataset], self._recode[share.dataset]
            if isinstance(part, CategoricalColumn):
                codes = part.codes(share.rows)
                out[share.positions] = codes if recode is None else recode[codes]
        return out

    def _plain(self, shares: Sequence[DatasetRows], n_rows: int) -> np.ndarray:
        assert isinstance(self.dtype, np.dtype)
        out = np.empty(n_rows, dtype=self.dtype)
        missing = np.ones(n_rows, dtype=bool)
        for share in shares:
            part = self._parts[share.dataset]
            if part is not None:
                out[share.positions] = self._exact(part.take(share.rows), self.dtype)
                missing[share.positions] = False
        if missing.any():
            out[missing] = _MISSING[self.dtype.kind]
        return out

    def _extension(self, shares: Sequence[DatasetRows], n_rows: int) -> Any:
        positions = np.full(n_rows, -1, dtype=np.int64)
        make: Any = pd.array
        values: list[Any] = []
        n_values = 0
        for share in shares:
            part = self._parts[share.dataset]
            if part is not None:
                taken = part.take(share.rows)
                taken = self._exact(taken, _number(self.dtype)) if is_masked(self.dtype) else taken
                values.append(make(taken, dtype=self.dtype))
                positions[share.positions] = n_values + np.arange(len(share.rows))
                n_values += len(share.rows)
        values = values or [make([], dtype=self.dtype)]
        joined = values[0] if len(values) == 1 else type(values[0])._concat_same_type(values)
        return joined.take(positions, allow_fill=True)

    def _exact(self, values: Any, dtype: np.dtype) -> Any:
        """Return values; raise ``ValueError`` if one is an integer that would be rounded in ``dtype``."""
        numbers = values
        if is_masked(values.dtype):
            numbers = values[~values.isna()].to_numpy(dtype=values.dtype.numpy_dtype)
        rounded = first_rounded(numbers, dtype)
        if rounded is not None:
            raise ValueError(
                f"{self._where} must have values that {dtype} holds exactly, as it joins datasets of several dtypes or "
                f"with missing values, got {rounded}: leave the column out (`obs_columns`), or store it as strings."
            )
        return values


def common_dtype(dtypes: Sequence[Dtype], *, missing: bool) -> Dtype:
    """Return a dtype that holds the values of several columns.

    A dtype that all columns share is kept, if it has a missing value where one is needed. Numbers and booleans become
    the smallest dtype that holds them all, a nullable one where values may be missing; strings and categories of
    strings become strings; anything else becomes objects.

    Parameters
    ----------
    dtypes
        Dtypes of the columns.
    missing
        Whether some rows have no value.
    """
    first = dtypes[0]
    if all(dtype == first for dtype in dtypes) and not (missing and _lacks_missing_value(first)):
        return first
    if all(_is_number(dtype) for dtype in dtypes):
        common = np.result_type(*map(_number, dtypes))
        nullable = missing or any(is_masked(dtype) for dtype in dtypes)
        if not nullable or (common.kind in "fc" and not any(is_masked(dtype) for dtype in dtypes)):
            return common
        return nullable_dtype(common) if common.itemsize > 2 or common.kind != "f" else nullable_dtype(np.dtype("f4"))
    if any(isinstance(dtype, pd.StringDtype) for dtype in dtypes) and all(_is_text(dtype) for dtype in dtypes):
        return next(dtype for dtype in dtypes if isinstance(dtype, pd.StringDtype))
    return np.dtype(object)


def _number(dtype: Any) -> np.dtype:
    """Return the NumPy dtype of a column's numbers."""
    number: np.dtype = dtype.numpy_dtype if is_masked(dtype) else dtype
    return number


def _is_number(dtype: Dtype) -> bool:
    return is_masked(dtype) or (isinstance(dtype, np.dtype) and dtype.kind in "biufc")


def _is_text(dtype: Dtype) -> bool:
    if isinstance(dtype, pd.CategoricalDtype):
        return all(isinstance(category, str) for category in dtype.categories)
    return isinstance(dtype, pd.StringDtype) or dtype == np.dtype(object)


def _lacks_missing_value(dtype: Dtype) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind not in _MISSING


def _join_categories(
    parts: Sequence[Column | None],
) -> tuple[pd.CategoricalDtype, list[np.ndarray | None]] | None:
    """Return the joined dtype, and each part's new codes by its old ones; the last is for -1, missing.

    None if categories do not mix.
    """
    dtypes = [part.dtype for part in parts if isinstance(part, CategoricalColumn)]
    if all(dtype == dtypes[0] and same_categories(dtype.categories, dtypes[0].categories) for dtype in dtypes):
        return dtypes[0], [None] * len(parts)
    joined = join_categories([dtype.categories for dtype in dtypes])
    if joined is None:
        return None
    code_type = np.min_scalar_type(-max(2, len(joined)))
    recode: list[np.ndarray | None] = [
        np.append(joined.get_indexer(part.dtype.categories), -1).astype(code_type)
        if isinstance(part, CategoricalColumn)
        else None
        for part in parts
    ]
    return pd.CategoricalDtype(joined), recode


def same_categories(one: pd.Index, other: pd.Index) -> bool:
    """Return whether categories are the same, in order, value and type: to pandas, True equals 1."""
    return one.dtype == other.dtype and one.equals(other) and list(map(type, one)) == list(map(type, other))


def join_categories(lists: Sequence[pd.Index]) -> pd.Index | None:
    """Return all categories in the order of first appearance; 1 and 1.0 are the same one.

    None if True is among them and 1, or False and 0, which pandas takes for the same.
    """
    # Compared as Python objects: a large integer differs from the float that it rounds to.
    every = [value for _, value in dict.fromkeys((isinstance(v, bool), v) for one in lists for v in one.tolist())]
    if len(set(every)) < len(every):
        return None
    joined: pd.Index = pd.Index(every)
    return joined if joined.tolist() == every else pd.Index(every, dtype=object)


def unite_categories(lists: Sequence[pd.Index], *, ordered: bool) -> pd.CategoricalDtype | None:
    """Return the union of categories of one kind, in the order of first appearance.

    It is ordered if all lists are ordered, one of them has all categories, and its order holds for the others. None if
    categories are of several kinds, or no dtype holds all of them exactly.
    """
    every = {value for one in lists for value in one.tolist()}
    kinds = {str if isinstance(v, str) else bool if isinstance(v, bool) else float for one in lists for v in one}
    longest = max(lists, key=len)
    united = longest if ordered and len(longest) == len(every) else join_categories(lists)
    if len(kinds) > 1 or united is None or (united.dtype == object and kinds == {float}):
        return None
    # Only a list of all categories orders them: a < b and a < c leave b and c open.
    in_order = ordered and len(longest) == len(united)
    in_order = in_order and all((np.diff(united.get_indexer(one)) > 0).all() for one in lists)
    return pd.CategoricalDtype(united, in_order)
