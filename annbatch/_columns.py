"""One dataset's annotation of its rows, gathered by row number: from memory, or by range from disk."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd

from ._sources.values import HELD_BYTES, HeldValues, StoredValues, cut_at_gaps

_STRING_BYTES = 64
"""About what a short string takes in memory, pointer included."""


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
        chunk = self._array.chunks[0]  # decoded whole anyway
        first, _ = cut_at_gaps(rows // chunk)
        parts = []
        for a, b in zip(first.tolist(), [*first[1:].tolist(), len(rows)], strict=True):
            start = int(rows[a])
            parts.append(self._read(start, int(rows[b - 1]) + 1)[rows[a:b] - start])
        return np.concatenate(parts) if parts else np.empty(0, dtype=object)

    def _read(self, start: int, stop: int) -> np.ndarray:
        values = self._array.asstr()[start:stop] if hasattr(self._array, "asstr") else self._array[start:stop]
        return np.asarray(values, dtype=object)


class PlainColumn:
    """Numbers, booleans or strings without missing values."""

    def __init__(self, values: Values) -> None:
        self.values = values

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

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a pandas masked array."""
        values, mask = self.values.take(rows), self.mask.take(rows)
        make = pd.arrays.BooleanArray if values.dtype == bool else _masked_array_of(values.dtype)
        return make(values, mask)


class PandasColumn:
    """A pandas array in memory, of whatever type."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``, of the same type."""
        return self.array.take(rows)


Column: TypeAlias = PlainColumn | CategoricalColumn | MaskedColumn | PandasColumn


def _masked_array_of(dtype: np.dtype) -> Any:
    return pd.arrays.FloatingArray if dtype.kind == "f" else pd.arrays.IntegerArray


def memory_column(array: Any) -> Column:
    """Return the column that a Series' or an Index' array is."""
    if isinstance(array, pd.Categorical):
        return CategoricalColumn(HeldValues(array.codes), array.dtype)
    if isinstance(array, np.ndarray | pd.arrays.NumpyExtensionArray):
        return PlainColumn(HeldValues(np.asarray(array)))
    return PandasColumn(array)


def stored_column(element: Any) -> Column:
    """Return the column that a stored element of a DataFrame is, in anndata's encoding; nothing is read but categories.

    Numbers, booleans, strings, categoricals and nullable numbers are read by range; anything else is read whole.
    """
    from anndata.io import read_elem

    from ._sources.open import open_array

    encoding = element.attrs.get("encoding-type")
    if encoding == "array" and element.dtype.kind in "biuf" and element.ndim == 1:
        return PlainColumn(StoredValues(open_array(element)))
    if encoding == "categorical":
        categories = pd.Index(read_elem(element["categories"]))
        dtype = pd.CategoricalDtype(categories, ordered=bool(element.attrs.get("ordered", False)))
        return CategoricalColumn(StoredValues(open_array(element["codes"])), dtype)
    if encoding in ("nullable-integer", "nullable-boolean"):
        parts = (StoredValues(open_array(element[name])) for name in ("values", "mask"))
        return MaskedColumn(*parts)
    if encoding == "string-array" and element.shape[0] * _STRING_BYTES > HELD_BYTES:
        return PlainColumn(StoredStrings(element))
    return memory_column(pd.Series(read_elem(element)).array)
