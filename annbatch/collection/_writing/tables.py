"""Data frames of a dataset, written to zarr by rows, with at most a chunk of each column in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import zarr

from ..._format.attributes import COMPLETE_ATTRIBUTE
from ..._runtime.zarrs import through_zarr
from .._array_format import write_annotations
from .._schema.schema import NAMES, TableSchema, column_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._blocks import Block
    from .._schema.schema import Schema

# Tables are read by range: 65,536 values are 64 to 512 KB per column.
TABLE_CHUNK = 65_536
_TEXT_BYTES = 8 << 20  # characters of a chunk of strings


def table_of(schema: Schema, path: str, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return a data frame of the collection.

    Parameters
    ----------
    schema, path
        Schema of the collection, and path of the data frame.
    columns
        Columns and names of the rows, by their keys in a block; without rows they may be missing.
    """
    element = schema.elements[path]
    assert isinstance(element, TableSchema)
    index = pd.Index(columns.get(NAMES, np.empty(0, object)), dtype=object, name=element.index_name)
    assembled = {}
    for name, column in element.columns.items():
        values = columns.get(column_key(path, name))
        assembled[name] = column.assemble(np.empty(0, column.block_dtype) if values is None else values)
    return pd.DataFrame(assembled, index=index)


class TableWriter:
    """Writes one data frame: anndata writes an empty one, which settles the encoding, and rows are added to it.

    Parameters
    ----------
    group, path
        Group of the dataset, and path of the data frame in it.
    schema
        Schema of the collection.
    n_rows
        Rows of the dataset.
    text
        Mean characters of the strings of the longest column.
    """

    def __init__(self, group: zarr.Group, path: str, schema: Schema, n_rows: int, text: float) -> None:
        empty = table_of(schema, path, {})
        # At least 4,096, or a list of categories longer than the table would be cut into many chunks; fewer only where
        # strings are long, as a chunk is written and read as a whole.
        chunk = max(1, min(TABLE_CHUNK, max(4096, n_rows), int(_TEXT_BYTES / max(1.0, text))))
        write_annotations(group, path, empty, chunks=(chunk,))
        table = group[path]
        assert isinstance(table, zarr.Group)
        keys = {NAMES: str(table.attrs["_index"])} | {column_key(path, str(key)): str(key) for key in empty.columns}
        self._columns = {
            key: [_Column(array, n_rows, part) for array, part in _arrays(table[name])] for key, name in keys.items()
        }

    def append(self, block: Block) -> None:
        """Add rows at the end."""
        for key, columns in self._columns.items():
            for column in columns:
                column.append(block[key].values)  # type: ignore[union-attr]  # tables hold no sparse rows

    def close(self) -> None:
        """Write the remaining rows."""
        for column in (column for columns in self._columns.values() for column in columns):
            column.close()


def _arrays(
    stored: zarr.Array[Any] | zarr.Group,
) -> Iterator[tuple[zarr.Array[Any], Callable[[np.ndarray], np.ndarray]]]:
    """Yield the arrays that a column is stored as, each with the function that extracts its values from a block's."""
    if isinstance(stored, zarr.Array):
        yield stored, lambda values: values
    elif "codes" in stored:
        yield stored["codes"], lambda values: values  # type: ignore[misc]  # an array, by the format
    else:
        yield stored["values"], _present  # type: ignore[misc]
        yield stored["mask"], _missing  # type: ignore[misc]


def _present(values: np.ndarray) -> np.ndarray:
    if values.dtype.names:
        present: np.ndarray = values["value"]
        return present
    return np.where(_missing(values), "", values)


def _missing(values: np.ndarray) -> np.ndarray:
    if values.dtype.names:
        missing: np.ndarray = values["missing"]
        return missing
    return np.asarray(pd.isna(values))


class _Column:
    """An array, written one chunk at a time."""

    def __init__(self, array: zarr.Array[Any], n_rows: int, part: Callable[[np.ndarray], np.ndarray]) -> None:
        array.update_attributes({COMPLETE_ATTRIBUTE: True})
        array.resize((n_rows,))
        self._array = through_zarr(array.with_config({"write_empty_chunks": True}))
        self._part, self._chunk = part, array.chunks[0]
        self._held: list[np.ndarray] = []
        self._n_held = self._n_written = 0

    def append(self, values: np.ndarray) -> None:
        self._held.append(self._part(values))
        self._n_held += len(values)
        if self._n_held >= self._chunk:
            self._write(self._n_held // self._chunk * self._chunk)

    def _write(self, n_rows: int) -> None:
        held = np.concatenate(self._held)
        self._array[self._n_written : self._n_written + n_rows] = held[:n_rows]
        self._n_written += n_rows
        self._held, self._n_held = [held[n_rows:].copy()], len(held) - n_rows

    def close(self) -> None:
        if self._n_held:
            self._write(self._n_held)
