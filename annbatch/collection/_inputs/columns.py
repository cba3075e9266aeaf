"""Columns of data frames: read by ranges of rows, joined over inputs, assembled for writing.

In between, a column is one NumPy array per block: categories as int32 codes (-1 is missing), nullable numbers as a
structured array of ``value`` and ``missing``, strings as objects (``None`` is missing), other numbers unchanged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from ..._anndata.columns import NamedValues, PlainColumn, is_masked, read_strings
from ..._anndata.joined_column import same_categories, unite_categories
from ..._arrays.bounded import bounded, check_backed
from ..._arrays.library import check_complete
from ..._arrays.values import HeldValues
from ..._warn import warn
from .narrow import cast
from .text import SHORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..._anndata.columns import Column

_SURROGATES = re.compile("[\ud800-\udfff]")

Group: TypeAlias = Any
"""An h5py or zarr group. Its contents depend on the file, so naming the types would check nothing."""
Kind = Literal["plain", "categorical", "nullable", "string"]


def nullable_dtype(value: np.dtype) -> np.dtype:
    """Return the structured dtype of blocks of a nullable column."""
    return np.dtype([("value", value), ("missing", np.bool_)])


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """Encoding, dtype and categories of a column.

    Attributes
    ----------
    kind
        Encoding of the values.
    dtype
        Dtype of plain or nullable values; object for strings, int32 for codes.
    categories
        Categories of a categorical column, in order.
    ordered
        Whether the categories are ordered.
    missing
        Whether strings may be missing.
    as_nan
        Whether missing strings are NaN, as those of pandas 3, and not ``pd.NA``.
    text
        About how many bytes a string takes in memory, with its pointer.
    """

    kind: Kind
    dtype: np.dtype
    categories: pd.Index | None = None
    ordered: bool = False
    missing: bool = False
    as_nan: bool = False
    text: float = SHORT

    @property
    def block_dtype(self) -> np.dtype:
        """Dtype of the array that holds a block of the column."""
        return nullable_dtype(self.dtype) if self.kind == "nullable" else self.dtype

    @property
    def row_bytes(self) -> float:
        """Approximate bytes per row in memory."""
        return self.text if self.kind == "string" else self.block_dtype.itemsize

    def assemble(self, values: np.ndarray) -> Any:
        """Return the array of pandas or NumPy that a data frame holds for this column."""
        if self.kind == "categorical":
            return pd.Categorical.from_codes(values, categories=self.categories, ordered=self.ordered)
        if self.kind == "nullable":
            value, missing = np.ascontiguousarray(values["value"]), np.ascontiguousarray(values["missing"])
            array = pd.arrays.BooleanArray if self.dtype.kind == "b" else pd.arrays.IntegerArray
            return array(value, missing)
        if self.kind == "string":
            make: Any = pd.array
            return make(values, dtype=_text_dtype(self.as_nan)) if self.missing else values
        return values


def _text_dtype(as_nan: bool) -> pd.StringDtype:
    # Before pandas 3, anndata writes no strings whose missing values are NaN.
    return pd.StringDtype(na_value=np.nan) if as_nan and not pd.__version__.startswith("2.") else pd.StringDtype()


def strings(values: Any) -> np.ndarray:
    """Return strings as an array of objects: ``str``, and ``None`` for missing values."""
    array = np.asarray(values, dtype=object)
    missing = pd.isna(array)
    if missing.any():
        array = array.copy()
        array[missing] = None
    return array


class RangeValues:
    """A stored array, read by range.

    For consecutive ranges, h5py and zarr are faster than the loader's readers (1 ms instead of 31 ms for 200,000 floats
    of an h5ad file in 40 ranges); and no values are held, so that memory stays within the limit.
    """

    def __init__(self, array: Any) -> None:
        check_complete(array)
        array = bounded(array)
        self.dtype = array.dtype.newbyteorder("=") if array.dtype.kind in "biuf" else np.dtype(object)
        self._array = array
        self._chunk, self._strings = -1, np.empty(0, object)  # the last chunk of strings, as zarr decodes chunks whole

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values of rows, which follow each other."""
        start, stop = (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)
        check_backed(self._array, stop - start)
        if self.dtype == object and hasattr(self._array, "store"):
            size, parts = self._array.chunks[0], [np.empty(0, object)]
            for number in range(start // size, -(-stop // size)):
                if number != self._chunk:
                    self._strings = read_strings(
                        self._array, number * size, min((number + 1) * size, self._array.shape[0])
                    )
                    self._chunk = number
                parts.append(self._strings[max(0, start - number * size) : stop - number * size])
            return np.concatenate(parts)
        if self.dtype == object:
            return read_strings(self._array, start, stop)
        return np.asarray(self._array[start:stop]).astype(self.dtype, copy=False)


class ColumnReader:
    """One column of one input, of ``n_rows``; ``where`` names it in errors."""

    def __init__(self, column: Column, n_rows: int, where: str) -> None:
        self._column = column
        dtype: Any = column.dtype
        number = dtype.numpy_dtype if is_masked(dtype) else dtype
        if isinstance(dtype, pd.CategoricalDtype):
            _check_categories(dtype.categories, where)
            self.info = ColumnInfo("categorical", np.dtype(np.int32), dtype.categories, bool(dtype.ordered))
        elif isinstance(dtype, pd.StringDtype):
            self.info = ColumnInfo("string", np.dtype(object), missing=True, as_nan=dtype.na_value is not pd.NA)
        elif isinstance(number, np.dtype) and number.kind in "biuf" and number.itemsize <= 8:  # no long double
            self.info = ColumnInfo("plain" if number is dtype or number.kind == "f" else "nullable", number)
        elif dtype == np.dtype(object) and isinstance(column, PlainColumn) and isinstance(column.values, NamedValues):
            # Strings of a file, none missing.
            self.info = ColumnInfo("string", np.dtype(object))
        else:
            values = strings(column.take(np.arange(n_rows)))
            wrong = next((value for value in values if not isinstance(value, str | None)), None)
            if wrong is not None:
                raise TypeError(
                    f"{where} must hold numbers, booleans, strings or categories, "
                    f"got {type(wrong).__name__} in a column of dtype {dtype}: convert or remove it with `load_adata`."
                )
            check_text(values, where)
            self._column = PlainColumn(HeldValues(values))
            self.info = ColumnInfo("string", np.dtype(object), missing=any(value is None for value in values))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start:stop`` as one array of dtype ``info.block_dtype``."""
        values: Any = self._column.take(np.arange(start, stop))
        if self.info.kind == "categorical":
            return np.asarray(values.codes.astype(np.int32))
        if self.info.kind == "nullable":
            out = np.empty(len(values), self.info.block_dtype)
            out["value"], out["missing"] = values.to_numpy(self.info.dtype, na_value=0), values.isna()
            return out
        if self.info.kind == "string":
            return strings(values) if self.info.missing else values
        return (
            values if isinstance(values, np.ndarray) else np.asarray(values.to_numpy(self.info.dtype, na_value=np.nan))
        )


def _check_categories(categories: pd.Index, where: str) -> None:
    """Raise if zarr would not give categories back as they are, such as intervals, which become strings."""
    dtype: Any = categories.dtype
    is_number = is_masked(dtype) or (isinstance(dtype, np.dtype) and dtype.kind in "biufmM")
    if not is_number and not all(isinstance(value, str) for value in categories):
        raise TypeError(
            f"{where} must have categories of one kind, numbers, booleans or strings, got {_kind(categories)}: convert "
            "or remove it with `load_adata`."
        )
    check_text(() if is_number else categories, where)


def check_text(values: Iterable[str | None], where: str) -> None:
    """Raise ``TypeError`` if strings cannot be stored: surrogates, which stand for bytes that are no text."""
    wrong = next((value for value in values if value and not value.isascii() and _SURROGATES.search(value)), None)
    if wrong is not None:
        raise TypeError(f"{where} must hold text that UTF-8 has, got {wrong[:40]!r}: convert it with `load_adata`.")


def unite(columns: Sequence[ColumnInfo | None], where: str, names: Sequence[str]) -> ColumnInfo:
    """Return the column that holds the rows of all inputs.

    Parameters
    ----------
    columns
        One per input; None if the input lacks the column, whose values are then missing.
    where
        Name of the column in errors.
    names
        The inputs' names, for errors.

    Raises
    ------
    TypeError
        If one input has strings and another has numbers.

    Warns
    -----
    UserWarning
        If categories are ordered in some inputs, but no single order holds for all.
    """
    present = [column for column in columns if column is not None]
    missing = len(present) < len(columns)
    kinds = {column.kind for column in present}
    if kinds == {"categorical"}:
        categories = present[0].categories
        assert categories is not None
        lists = [column.categories for column in present if column.categories is not None]
        ordered = {column.ordered for column in present}
        if len(ordered) == 1 and all(same_categories(one, categories) for one in lists):
            return present[0]
        united = unite_categories(lists, ordered=ordered == {True})
        if united is not None:
            if True in ordered and not united.ordered:
                text = f"{where} has ordered categories, but no single order in all inputs: they become unordered."
                warn(text)
            return ColumnInfo("categorical", np.dtype(np.int32), united.categories, bool(united.ordered))
    strings_only = all(
        column.kind == "string"
        or (column.categories is not None and all(isinstance(value, str) for value in column.categories))
        for column in present
    )
    if strings_only:
        may_miss = missing or any(column.missing or column.kind == "categorical" for column in present)
        as_nan = {column.as_nan for column in present if column.kind == "string" and column.missing} == {True}
        longest = max(column.text for column in present)
        return ColumnInfo("string", np.dtype(object), missing=may_miss, as_nan=as_nan, text=longest)
    if kinds <= {"plain", "nullable"}:
        dtype = np.result_type(*(column.dtype for column in present))
        if "nullable" not in kinds and (not missing or dtype.kind == "f"):
            return ColumnInfo("plain", dtype)
        # Floats have NaN; integers stay exact only with a mask.
        return ColumnInfo("plain", dtype) if dtype.kind == "f" else ColumnInfo("nullable", dtype)
    first: dict[str, str] = {}
    for column, name in zip(columns, names, strict=True):
        if column is not None:
            first.setdefault(_describe(column), name)
    got = " and ".join(f"{what} in {name}" for what, name in first.items())
    raise TypeError(f"{where} must hold one kind of values in all inputs, got {got}: unify them with `load_adata`.")


def _describe(column: ColumnInfo) -> str:
    """Describe a column, for an error about how columns differ."""
    if column.categories is not None:
        return f"categories ({_kind(column.categories)})"
    return "strings" if column.kind == "string" else str(column.dtype)


def _kind(categories: pd.Index) -> str:
    inside = pd.api.types.infer_dtype(categories, skipna=False)
    return "none" if inside == "empty" else inside


def convert(values: np.ndarray, of: ColumnInfo, to: ColumnInfo) -> np.ndarray:
    """Return ``values`` of an input's column in the encoding of the joined column."""
    if to.kind == "categorical":
        assert of.categories is not None
        assert to.categories is not None
        if same_categories(of.categories, to.categories):
            return values
        codes: np.ndarray = np.append(to.categories.get_indexer(of.categories).astype(np.int32), np.int32(-1))
        return np.asarray(codes[values])
    if to.kind == "string":
        if of.kind == "categorical":
            assert of.categories is not None
            return np.asarray(np.array([*of.categories, None], dtype=object)[values])
        return values
    value, missing = (values["value"], values["missing"]) if of.kind == "nullable" else (values, False)
    if to.kind == "nullable":
        out = np.empty(len(values), to.block_dtype)
        out["value"], out["missing"] = cast(value, to.dtype), missing
        return out
    plain = cast(value, to.dtype)
    if of.kind == "nullable":
        plain = plain.copy()
        plain[missing] = np.nan
    return plain


def absent(n_rows: int, column: ColumnInfo) -> np.ndarray:
    """Return ``n_rows`` missing values of a column."""
    if column.kind == "categorical":
        return np.full(n_rows, -1, np.int32)
    if column.kind == "string":
        return np.full(n_rows, None, object)
    if column.kind == "nullable":
        out = np.zeros(n_rows, column.block_dtype)
        out["missing"] = True
        return out
    return np.full(n_rows, np.nan, column.dtype)
