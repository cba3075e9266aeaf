"""A column of annotations of one dataset, gathered by row number: from memory, or by range from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from .._arrays.byte_count import count_bytes
from .._arrays.values import HELD_BYTES, HeldValues, StoredValues, cut_at_gaps
from .._format.attributes import encoding_of, text, where
from ..errors import CorruptDataError

if TYPE_CHECKING:
    from collections.abc import Callable

_STRING_BYTES = 64
"""Estimated memory of a short string, including its pointer."""

Dtype: TypeAlias = "np.dtype | pd.api.extensions.ExtensionDtype"


class Values(Protocol):
    """A one-dimensional array, gathered by row number."""

    dtype: np.dtype

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values of the rows ``at``, which ascend and may repeat."""


class StoredStrings:
    """A stored array of strings, as objects: kept in memory if it is small, else read by range."""

    def __init__(self, array: Any) -> None:
        self.dtype = np.dtype(object)
        self._array = array  # read by zarr or h5py: zarrs does not support strings
        self._held: Any = None

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``."""
        if self._held is None and self._array.shape[0] * _STRING_BYTES <= HELD_BYTES:
            self._held = self._read(0, self._array.shape[0])
        if self._held is not None:
            return self._held[rows]
        chunk = self._array.chunks[0] if self._array.chunks else 1024  # chunks are decoded whole
        first, _ = cut_at_gaps(rows // chunk)
        parts = []
        for a, b in zip(first.tolist(), [*first[1:].tolist(), len(rows)], strict=True):
            start = int(rows[a])
            parts.append(self._read(start, int(rows[b - 1]) + 1)[rows[a:b] - start])
        return np.concatenate(parts) if parts else np.empty(0, dtype=object)

    def _read(self, start: int, stop: int) -> np.ndarray:
        values = self._array.asstr()[start:stop] if hasattr(self._array, "asstr") else self._array[start:stop]
        strings = np.asarray(values, dtype=object)
        count_bytes(sum(map(len, strings)))
        return strings


class PlainColumn:
    """Numbers, booleans or strings without missing values."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.dtype: Dtype = values.dtype

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``."""
        return self.values.take(rows)


class CategoricalColumn:
    """Codes of categories, -1 where missing.

    Parameters
    ----------
    codes
        Integers of any type.
    dtype
        The categories.
    where
        Name of the column in errors.
    """

    def __init__(self, codes: Values, dtype: pd.CategoricalDtype, where: str = "A categorical column") -> None:
        if codes.dtype.kind not in "iu":
            raise CorruptDataError(f"{where} must have integers as codes, got {codes.dtype}.")
        self.dtype = dtype
        signed = codes.dtype.kind == "i"
        self.code_type = codes.dtype if signed else np.min_scalar_type(-max(1, len(dtype.categories)))
        self._codes = codes
        self._where = where

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Return the codes of ``rows``: of a signed type, none without a category, so that they may become addresses.

        Raises
        ------
        CorruptDataError
            If there is another code.
        """
        codes, n = self._codes.take(rows), len(self.dtype.categories)
        if len(codes) and not -1 <= codes.min() <= codes.max() < n:
            wrong = codes[(codes < -1) | (codes >= n)][0]
            raise CorruptDataError(f"{self._where} must have codes from -1 to {n - 1}, got {wrong}: damaged.")
        return codes.astype(self.code_type, copy=False)

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a ``pd.Categorical``."""
        return pd.Categorical.from_codes(self.codes(rows), dtype=self.dtype, validate=False)


class MaskedColumn:
    """Nullable numbers or booleans."""

    def __init__(self, values: Values, mask: Values) -> None:
        self.values = values
        self.mask = mask
        self.dtype: Dtype = nullable_dtype(values.dtype)

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a pandas masked array."""
        return self.dtype.construct_array_type()(self.values.take(rows), self.mask.take(rows))  # type: ignore[union-attr, call-arg]  # masked arrays take both


class MaskedStrings:
    """Nullable strings."""

    def __init__(self, values: Values, mask: Values) -> None:
        self.values = values
        self.mask = mask
        self.dtype: Dtype = pd.StringDtype()

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a pandas array of strings."""
        values = np.array(self.values.take(rows), dtype=object)
        values[self.mask.take(rows).astype(bool)] = None
        make: Any = pd.array
        return make(values, dtype=self.dtype)


class PandasColumn:
    """A pandas array in memory, of any other type."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype: Dtype = array.dtype

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``, of the same type."""
        return self.array.take(rows)


Column: TypeAlias = PlainColumn | CategoricalColumn | MaskedColumn | MaskedStrings | PandasColumn


def nullable_dtype(dtype: np.dtype) -> pd.api.extensions.ExtensionDtype:
    """Return the pandas dtype for nullable numbers or booleans."""
    if dtype.kind == "b":
        return pd.BooleanDtype()
    make: Any = pd.array
    made: pd.api.extensions.ExtensionDtype = make(np.empty(0, dtype=dtype)).dtype  # Int8 ... UInt64, Float32, Float64
    return made


def is_masked(dtype: Any) -> bool:
    """Return whether a dtype is one of pandas' nullable numbers or booleans; only these have a ``numpy_dtype``."""
    return isinstance(getattr(dtype, "numpy_dtype", None), np.dtype)


def memory_column(array: Any) -> Column:
    """Return the column of a Series' or an Index' array."""
    if isinstance(array, pd.Categorical):
        return CategoricalColumn(HeldValues(array.codes), array.dtype)
    # Not isinstance: pandas' string array is a subclass of its wrapper of NumPy arrays, and would lose its dtype.
    if isinstance(array, np.ndarray) or type(array) is pd.arrays.NumpyExtensionArray:
        return PlainColumn(HeldValues(np.asarray(array)))
    return PandasColumn(array)


def stored_column(frame: Any, element: Any, open_values: Callable[[Any], Values] | None = None) -> Column:
    """Open a column of a DataFrame that is stored in anndata's encoding.

    Numbers, booleans, categoricals, nullable values and long arrays of strings are read by range, when rows are needed;
    categories and anything else are read whole, here.

    Parameters
    ----------
    frame
        Group of the DataFrame: before anndata 0.8, it holds the categories of its columns.
    element
        Array or group of the column.
    open_values
        Opens every array of numbers or strings, short ones too; default, a reader that keeps small arrays in memory.

    Raises
    ------
    CorruptDataError
        If the column contradicts its encoding.
    """
    from anndata.io import read_elem

    numbers, strings = open_values or _open_numbers, open_values or StoredStrings
    encoding = encoding_of(element)
    if "categories" in element.attrs:  # a reference or a path within the frame
        categories = frame[text(element.attrs["categories"])]
        return _categorical(element, numbers(element), categories, categories.attrs)
    if encoding in ("", "array") and element.dtype.kind in "biuf" and element.ndim == 1:
        return PlainColumn(numbers(element))
    if encoding == "categorical":
        return _categorical(element, numbers(element["codes"]), element["categories"], element.attrs)
    if encoding in ("nullable-integer", "nullable-boolean"):
        _check_mask(element)
        return MaskedColumn(numbers(element["values"]), numbers(element["mask"]))
    if encoding == "nullable-string-array" and (open_values or _is_large(element["values"])):
        _check_mask(element)
        return MaskedStrings(strings(element["values"]), numbers(element["mask"]))
    if encoding == "string-array" and (open_values or _is_large(element)):
        return PlainColumn(strings(element))
    values = pd.Series(read_elem(element))
    count_bytes(int(values.memory_usage(index=False)))
    return memory_column(values.array)


def n_rows_of(element: Any) -> int:
    """Return the number of rows of a stored column."""
    values = element
    if hasattr(element, "keys"):
        values = element["codes" if encoding_of(element) == "categorical" else "values"]
    return int(values.shape[0])


def _categorical(element: Any, codes: Values, categories: Any, attributes: Any) -> CategoricalColumn:
    from anndata.io import read_elem

    try:
        dtype = pd.CategoricalDtype(pd.Index(read_elem(categories)), bool(text(attributes.get("ordered", False))))
    except ValueError as error:  # repeated or missing ones
        raise CorruptDataError(f"{where(element)} must have valid categories: {error}") from error
    return CategoricalColumn(codes, dtype, where(element))


def _check_mask(element: Any) -> None:
    values, mask = element["values"], element["mask"]
    if values.shape != mask.shape or mask.dtype.kind != "b":
        raise CorruptDataError(
            f"{where(element)} must have a boolean mask of shape {values.shape}, got {mask.dtype} of {mask.shape}."
        )


def _open_numbers(array: Any) -> Values:
    from .._arrays.open import open_array

    return StoredValues(open_array(array))


def _is_large(strings: Any) -> bool:
    return bool(strings.shape[0] * _STRING_BYTES > HELD_BYTES)
