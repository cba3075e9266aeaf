"""Attributes of zarr and HDF5 elements: those that this package adds, and how those of AnnData are read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ..errors import RemoteError, StoreError, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLETE_ATTRIBUTE = "annbatch-complete"
"""On an array: true if every chunk was written, so that a missing chunk is damage and not the fill value."""

DTYPE_ATTRIBUTE = "annbatch-dtype"
"""On an array or CSR group whose values were narrowed for storage: name of their original dtype, e.g. "float32"."""

FIRST_ROW_ATTRIBUTE = "annbatch-first-row"
"""On a CSR group in ``obsm`` whose columns are the rows of its collection, which relate to the group's rows: number of
the row of the collection that is the first of the dataset."""

COLUMNS_BEFORE = "indices_before"
"""In a CSR group whose column numbers are stored as differences: the array of the column numbers before each row, 0
before the first, from which a row can be read without those before it."""

UNFINISHED_ENCODING = {"encoding-type": "annbatch-unfinished", "encoding-version": "0.1.0"}
"""Attributes of an AnnData group while :func:`annbatch.write_sharded` writes it. anndata refuses an encoding that it
does not know; without any it would read what is there."""


def text(value: Any) -> Any:
    """Return an attribute that holds text as a ``str``; R and Julia write bytes of fixed length, or arrays of one item.

    >>> import numpy as np
    >>> text(np.bytes_(b"dataframe")), text(np.array(["_index"], object)), text(1)
    ('dataframe', '_index', 1)
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode() if isinstance(value, bytes) else value


def encoding_of(element: Any) -> str:
    """Return the encoding of an element in AnnData's format, such as ``csr_matrix``; ``""`` if it states none."""
    with reading(where(element)):
        if "h5sparse_format" in element.attrs:  # before anndata 0.7
            return f"{text(element.attrs['h5sparse_format'])}_matrix"
        return str(text(element.attrs.get("encoding-type", "")))


def refuse_unfinished(element: Any) -> None:
    """Raise :class:`StoreError` if the writer of an element, or of the AnnData that holds it, was interrupted."""
    held: Any = element if hasattr(element, "attrs") else None
    while held is not None:
        encoding = encoding_of(held)
        if encoding == UNFINISHED_ENCODING["encoding-type"]:
            raise StoreError(
                f"{where(element)} must be complete, and is being written, or its writer was interrupted: call "
                "`annbatch.write_sharded` again."
            )
        held = None if encoding == "anndata" else _parent(held)


def _parent(element: Any) -> Any:
    """Return the group that holds an element of zarr v3, the only format that is written; None if there is none."""
    import zarr

    if not isinstance(element, zarr.Array | zarr.Group) or not element.path or element.metadata.zarr_format != 3:
        return None
    # Readers may have no right to what is above.
    with suppress(FileNotFoundError, RemoteError), reading(where(element)):
        return zarr.open_group(element.store, path=element.path.rpartition("/")[0], mode="r", zarr_format=3)
    return None


def sparse_shape(group: Any) -> tuple[int, ...]:
    """Return the shape of a sparse matrix."""
    shape = group.attrs["h5sparse_shape" if "h5sparse_shape" in group.attrs else "shape"]
    return tuple(int(n) for n in shape)


def where(element: Any) -> str:
    """Name an element and its file or store, for errors; stores of other kinds than folders may hold secrets."""
    if isinstance(element, h5py.Dataset | h5py.Group):
        if not element:
            return "an HDF5 file that was closed"
        place = element.file.filename
    else:
        store = element.store_path.store
        place = getattr(store, "root", getattr(store, "url", type(store).__name__))
    path = element.name.strip("/")
    return f"`{path}` of {place}" if path else str(place)


def original_dtype(attributes: Mapping[str, Any], stored: np.dtype) -> np.dtype:
    """Return the dtype that values had before they were narrowed to ``stored``, in native byte order.

    Raises
    ------
    TypeError
        If the attribute names no dtype of numbers.
    """
    dtype: np.dtype = np.dtype(attributes.get(DTYPE_ATTRIBUTE, stored))
    if dtype != stored and dtype.kind not in "biufc":
        raise TypeError(f"`{DTYPE_ATTRIBUTE}` must name a dtype of numbers, got {dtype}.")
    native: np.dtype = dtype.newbyteorder("=")
    return native
