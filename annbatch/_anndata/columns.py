"""A column of annotations of one dataset, gathered by row number: from memory, or by range from disk."""

from __future__ import annotations

from functools import partial
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import h5py
import numpy as np
import pandas as pd

from .._arrays.byte_count import count_bytes
from .._arrays.library import check_complete
from .._arrays.node_folder import NodeFolder
from .._arrays.values import HELD_BYTES, HeldValues, StoredValues, cut_at_gaps
from .._format.attributes import encoding_of, text, where
from .._format.codecs import quiet_codecs
from .._warn import ignore_warnings
from ..errors import CorruptDataError, reading

if TYPE_CHECKING:
    from collections.abc import Callable

_STRING_BYTES = 64
"""Estimated memory of a short string, including its pointer."""

_READ_TOGETHER = 1 << 10
"""Strings whose sizes are looked at together, before more of them are read."""

Dtype: TypeAlias = "np.dtype | pd.api.extensions.ExtensionDtype"


class Values(Protocol):
    """A one-dimensional array, gathered by row number."""

    dtype: np.dtype

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values of the rows ``at``, which ascend and may repeat."""


class NamedValues:
    """A stored array whose errors name it, opened by ``open_values``."""

    def __init__(self, open_values: Callable[[Any], Values], array: Any) -> None:
        self._where = where(array)
        if array.ndim != 1:
            raise CorruptDataError(f"{self._where} must have one dimension, got shape {array.shape}.")
        self._values = open_values(array)
        self.dtype = self._values.dtype

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values of the rows ``at``, which ascend and may repeat."""
        with reading(self._where):
            return self._values.take(at)


class StoredStrings:
    """A stored array of strings, as objects: kept in memory if it is small, else read by range."""

    def __init__(self, array: Any) -> None:
        from .._arrays.bounded import bounded

        check_complete(array)
        self.dtype = np.dtype(object)
        self._array = bounded(array)
        self._folder = NodeFolder.of(array)
        self._held: Any = None

    def __getstate__(self) -> dict[str, Any]:
        from .._arrays.hdf5_files import by_path

        return by_path(vars(self))

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``."""
        if self._held is None:
            self._held = self._all_if_small()
        if len(self._held) == self._array.shape[0]:
            return self._held[rows]
        chunk = self._array.chunks[0] if self._array.chunks else 1024  # chunks are decoded whole
        first, _ = cut_at_gaps(rows // chunk)
        parts = []
        for a, b in zip(first.tolist(), [*first[1:].tolist(), len(rows)], strict=True):
            start = int(rows[a])
            parts.append(self._read(start, int(rows[b - 1]) + 1)[rows[a:b] - start])
        return np.concatenate(parts) if parts else np.empty(0, dtype=object)

    def _all_if_small(self) -> Any:
        """Return all strings; none if they are many, or longer than four times a short one on average."""
        size, left, parts = self._array.shape[0], 4 * HELD_BYTES, [np.empty(0, object)]
        chunk = self._array.chunks[0] if self._array.chunks else 1
        step = -(-_READ_TOGETHER // chunk) * chunk
        for start in range(0, size if size * _STRING_BYTES <= HELD_BYTES else 0, step):
            parts.append(self._read(start, min(start + step, size)))
            left -= sum(map(getsizeof, parts[-1].tolist()))
            if left < 0:
                return parts[0]
        return np.concatenate(parts)

    def _read(self, start: int, stop: int) -> np.ndarray:
        strings = read_strings(self._array, start, stop)
        if self._folder is not None:
            self._folder.check()
        count_bytes(sum(map(len, strings.tolist())))
        return strings


def read_strings(array: Any, start: int, stop: int) -> np.ndarray:
    """Return strings of a stored array as objects; bytes of fixed length, which R and Julia write, become ``str``."""
    values = np.asarray(array[start:stop], dtype=object)
    if len(values) and isinstance(values[0], bytes):  # h5py returns all strings as bytes
        return np.array(list(map(bytes.decode, values.tolist())), dtype=object)
    return values


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
    """Nullable strings; missing ones are NaN where the file says so, as pandas 3 writes them, else ``pd.NA``."""

    def __init__(self, values: Values, mask: Values, *, as_nan: bool) -> None:
        self.values = values
        self.mask = mask
        self.dtype: Dtype = pd.StringDtype(na_value=np.nan) if as_nan else pd.StringDtype()

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as a pandas array of strings."""
        values = np.array(self.values.take(rows), dtype=object)
        values[self.mask.take(rows).astype(bool)] = None
        make: Any = pd.array
        return make(values, dtype=self.dtype)


class TextColumn:
    """Another column as strings, for names of rows: anndata makes them of integers and categories, too."""

    dtype: Dtype = np.dtype(object)

    def __init__(self, column: Column) -> None:
        self._column = column

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows`` as ``str``."""
        return np.asarray(pd.Index(self._column.take(rows)).astype(str), dtype=object)


class PandasColumn:
    """A pandas array in memory, of any other type."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype: Dtype = array.dtype

    def take(self, rows: np.ndarray) -> Any:
        """Return the values of ``rows``, of the same type."""
        return self.array.take(rows)


Column: TypeAlias = PlainColumn | CategoricalColumn | MaskedColumn | MaskedStrings | TextColumn | PandasColumn


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


def stored_column(frame: Any, name: str, n_rows: int, open_values: Callable[[Any], Values] | None = None) -> Column:
    """Open a column of a DataFrame that is stored in anndata's encoding.

    Numbers, booleans, categoricals, nullable values and strings are read when rows are needed; categories and anything
    else are read whole, here.

    Parameters
    ----------
    frame
        Group of the DataFrame: before anndata 0.8, it holds the categories of its columns.
    name, n_rows
        Name of the column, and rows of the DataFrame.
    open_values
        Opens every array of numbers or strings; default, a reader that keeps small arrays in memory.

    Raises
    ------
    CorruptDataError
        If the column contradicts its encoding, or has another number of rows.
    """
    with reading(f"Column {name!r} of {where(frame)}"):
        element = frame[name]
        if (n_values := n_rows_of(element)) != n_rows:
            raise CorruptDataError(f"{where(element)} must have {n_rows} rows, as the index has, got {n_values}.")
        return _open_column(frame, name, element, n_rows, open_values)


def _open_column(
    frame: Any, name: str, element: Any, n_rows: int, open_values: Callable[[Any], Values] | None
) -> Column:
    numbers, strings = (partial(NamedValues, open_values or own) for own in (_open_numbers, StoredStrings))
    encoding = encoding_of(element)
    categories = _categories_beside(frame, name, element)
    if categories is not None:
        return _categorical(element, numbers(element), categories, categories.attrs)
    if encoding == "categorical":
        return _categorical(element, numbers(element["codes"]), element["categories"], element.attrs)
    if encoding in ("", "array") and element.dtype.kind in "biuf" and element.ndim == 1:
        return PlainColumn(numbers(element))
    if encoding in ("nullable-integer", "nullable-boolean"):
        _check_masked(element, "iu" if encoding == "nullable-integer" else "b")
        return MaskedColumn(numbers(element["values"]), numbers(element["mask"]))
    if encoding == "nullable-string-array":
        _check_masked(element, "OSUT")
        as_nan = text(element.attrs.get("na-value")) == "NaN"
        return MaskedStrings(strings(element["values"]), numbers(element["mask"]), as_nan=as_nan)
    if encoding == "string-array" or (encoding in ("", "array") and _holds_text(element)):
        return PlainColumn(strings(element))
    values = pd.Series(read_element(element))
    if len(values) != n_rows:  # its encoding may be another than its arrays
        raise CorruptDataError(f"{where(element)} must have {n_rows} rows, as the index has, got {len(values)}.")
    count_bytes(int(values.memory_usage(index=False)))
    return memory_column(values.array)


def read_element(element: Any) -> Any:
    """Return a stored element as anndata reads it; errors name it, and old encodings are read without a warning."""
    from .._arrays.bounded import bounded_whole

    with reading(where(element)), quiet_codecs(), ignore_warnings(".* was written (without encoding|with a very old)"):
        if _is_vector(element):  # without anndata, which takes 0.8 s to import
            array = bounded_whole(element)
            if _holds_text(element):
                return read_strings(array, 0, element.shape[0])
            return np.asarray(array[()]).astype(element.dtype.newbyteorder("="), copy=False)
        from anndata.experimental import read_dispatched

        return read_dispatched(element, lambda read, _, part, *, iospec: read(bounded_whole(part)))


def _is_vector(element: Any) -> bool:
    """Return whether a stored element is a plain array of numbers, booleans or strings."""
    if hasattr(element, "keys") or encoding_of(element) not in ("", "array", "string-array"):
        return False
    is_known = element.dtype.kind in "biuf" or _holds_text(element)
    return element.shape is not None and element.ndim == 1 and is_known


def _holds_text(array: Any) -> bool:
    """Return whether a stored array holds strings; HDF5's references and arrays of any length are objects, too."""
    if isinstance(array, h5py.Dataset) and array.dtype.kind == "O":
        return h5py.check_string_dtype(array.dtype) is not None
    return array.dtype.kind in "OSUT"


def n_rows_of(element: Any) -> int:
    """Return the number of rows of a stored column; errors are those of the library."""
    return int(values_of(element).shape[0])


def values_of(element: Any) -> Any:
    """Return the array that holds a value per row of a stored column: of a categorical one its codes."""
    if not hasattr(element, "keys"):
        return element
    return element["codes" if encoding_of(element) == "categorical" else "values"]


def _categories_beside(frame: Any, name: str, element: Any) -> Any:
    """Return the categories that a frame of anndata 0.7 has for a column, None for a column without."""
    if "categories" in element.attrs:
        reference = text(element.attrs["categories"])  # in zarr a path
        if isinstance(reference, str) or reference:
            return frame[reference]
    if text(frame.attrs.get("encoding-version")) == "0.1.0" and not hasattr(element, "keys"):
        return frame.get(f"__categories/{name}")  # a copy of the file may lack valid references
    return None


def _categorical(element: Any, codes: Values, categories: Any, attributes: Any) -> CategoricalColumn:
    check_complete(categories)
    dtype = pd.CategoricalDtype(pd.Index(read_element(categories)), bool(text(attributes.get("ordered", False))))
    return CategoricalColumn(codes, dtype, where(element))


def _check_masked(element: Any, kinds: str) -> None:
    values, mask = element["values"], element["mask"]
    if values.shape != mask.shape or mask.dtype.kind != "b" or values.dtype.kind not in kinds:
        raise CorruptDataError(
            f"{where(element)} must have values of its encoding and a boolean mask of the same shape, got "
            f"{values.dtype} of {values.shape} and {mask.dtype} of {mask.shape}."
        )


def _open_numbers(array: Any) -> Values:
    from .._arrays.open import open_array

    return StoredValues(open_array(array))
