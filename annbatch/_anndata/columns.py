"""One dataset's annotation of its rows, gathered by row number: from memory, or by range from disk."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from .._arrays.byte_count import count_bytes
from .._arrays.values import HELD_BYTES, HeldValues, StoredValues, cut_at_gaps

_STRING_BYTES = 64
"""About what a short string takes in memory, pointer included."""

Dtype: TypeAlias = "np.dtype | pd.api.extensions.ExtensionDtype"


class Values(Protocol):
    """A one-dimensional array that rows are picked from."""

    dtype: np.dtype

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values of rows, which ascend and may repeat."""


class StoredStrings:
    """A stored array of strings, as objects: held if it is small, read by range otherwise."""

    def __init__(self, array: Any) -> None:
        self.dtype = np.dtype(object)
        self._array = array  # zarrs knows no strings
        self._held: Any = None

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``."""
        if self._held is None and self._array.shape[0] * _STRING_BYTES <= HELD_BYTES:
            self._held = self._read(0, self._array.shape[0])
        if self._held is not None:
            return self._held[rows]
        chunk = self._array.chunks[0] if self._array.chunks else 1024  # decoded whole anyway
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
    """Codes of categories; -1 is missing."""

    def __init__(self, codes: Values, dtype: pd.CategoricalDtype) -> None:
        self.codes = codes
        self.dtype = dtype

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a ``pd.Categorical``."""
        return pd.Categorical.from_codes(self.codes.take(rows), dtype=self.dtype, validate=False)


class MaskedColumn:
    """Numbers or booleans of which some are missing."""

    def __init__(self, values: Values, mask: Values) -> None:
        self.values = values
        self.mask = mask
        self.dtype: Dtype = nullable_dtype(values.dtype)

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a pandas masked array."""
        return self.dtype.construct_array_type()(self.values.take(rows), self.mask.take(rows))  # type: ignore[union-attr, call-arg]  # masked arrays take both


class MaskedStrings:
    """Strings of which some are missing."""

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
    """A pandas array in memory, of whatever type."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype: Dtype = array.dtype

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``, of the same type."""
        return self.array.take(rows)


Column: TypeAlias = PlainColumn | CategoricalColumn | MaskedColumn | MaskedStrings | PandasColumn


def nullable_dtype(dtype: np.dtype) -> pd.api.extensions.ExtensionDtype:
    """Return pandas' dtype for numbers or booleans of which some are missing."""
    if dtype.kind == "b":
        return pd.BooleanDtype()
    make: Any = pd.array
    made: pd.api.extensions.ExtensionDtype = make(np.empty(0, dtype=dtype)).dtype  # Int8 ... UInt64, Float32, Float64
    return made


def memory_column(array: Any) -> Column:
    """Return the column that a Series' or an Index' array is."""
    if isinstance(array, pd.Categorical):
        return CategoricalColumn(HeldValues(array.codes), array.dtype)
    # pandas' strings are a subclass of its wrapper of NumPy arrays, and would lose their dtype
    if isinstance(array, np.ndarray) or type(array) is pd.arrays.NumpyExtensionArray:
        return PlainColumn(HeldValues(np.asarray(array)))
    return PandasColumn(array)


def stored_column(element: Any) -> Column:
    """Return the column that a stored element of a DataFrame is, in anndata's encoding; nothing is read but categories.

    Numbers, booleans, strings, categoricals and nullable values are read by range; anything else is read whole.
    """
    from anndata.io import read_elem

    from .._arrays.open import open_array

    encoding = element.attrs.get("encoding-type")
    if encoding == "array" and element.dtype.kind in "biuf" and element.ndim == 1:
        return PlainColumn(StoredValues(open_array(element)))
    if encoding == "categorical":
        categories = pd.Index(read_elem(element["categories"]))
        dtype = pd.CategoricalDtype(categories, ordered=bool(element.attrs.get("ordered", False)))
        return CategoricalColumn(StoredValues(open_array(element["codes"])), dtype)
    if encoding in ("nullable-integer", "nullable-boolean"):
        return MaskedColumn(*(StoredValues(open_array(element[name])) for name in ("values", "mask")))
    if encoding == "nullable-string-array" and _is_large(element["values"]):
        return MaskedStrings(StoredStrings(element["values"]), StoredValues(open_array(element["mask"])))
    if encoding == "string-array" and _is_large(element):
        return PlainColumn(StoredStrings(element))
    values = pd.Series(read_elem(element))
    count_bytes(int(values.memory_usage(index=False)))
    return memory_column(values.array)


def _is_large(strings: Any) -> bool:
    return bool(strings.shape[0] * _STRING_BYTES > HELD_BYTES)
