"""Choose the reader of a user's matrix."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._format.attributes import COLUMNS_BEFORE, encoding_of, original_dtype, refuse_unfinished, sparse_shape, where
from .._format.codecs import quiet_codecs
from .._warn import warn
from ..errors import CorruptDataError, reading
from .dask import DaskArray, is_dask, stored_behind
from .hdf5_files import refuse_external, refuse_external_links
from .memory import MemoryArray
from .rows import CsrSource, DenseSource
from .values import HeldValues, StoredValues

if TYPE_CHECKING:
    from .._format.codecs import ChunkCodecs
    from .array import StoredArray

RowSource: TypeAlias = CsrSource | DenseSource

_MOST_BYTES = 1 << 48
"""Bytes of the largest chunk or shard: more than any file system or object store holds in one file."""


def open_rows(matrix: Any, *, name: str = "X", is_finished: bool = False) -> RowSource:
    """Return the source that reads a matrix's rows.

    Parameters
    ----------
    matrix
        A NumPy array, a SciPy CSR matrix, a zarr or HDF5 array, a zarr or HDF5 group in anndata's CSR encoding,
        anndata's wrapper of such a group, or a dask array: a dense one, or one that anndata read lazily.
    name
        Name of the matrix in errors.
    is_finished
        Whether the caller knows that the AnnData that holds it is complete, and in one file.

    Raises
    ------
    StoreError
        If the writer of the AnnData that holds it was interrupted, or an HDF5 file leads to others.
    TypeError
        If it is anything else, such as a CSC matrix.
    """
    import h5py
    import scipy.sparse as sp
    import zarr

    if is_dask(matrix):
        return _dask(matrix, name)
    if isinstance(matrix, np.ndarray):
        array = MemoryArray(_numeric(matrix, f"`{name}`"))
        return DenseSource(array, dtype=array.dtype)
    if isinstance(matrix, sp.csr_matrix | sp.csr_array):
        nnz = matrix.nnz  # the arrays may be longer
        data, indices = MemoryArray(_numeric(matrix.data[:nnz], f"`{name}`")), MemoryArray(matrix.indices[:nnz])
        return CsrSource(data, indices, HeldValues(matrix.indptr), matrix.shape, dtype=data.dtype, where=f"`{name}`")
    if sp.issparse(matrix):
        raise _not_rows(f"`{name}`", f"a SciPy {type(matrix).__name__}", "`.tocsr()` makes it CSR")
    group = matrix if isinstance(matrix, zarr.Group | h5py.Group) else getattr(matrix, "group", None)
    if not is_finished:
        refuse_unfinished(matrix if group is None else group)
        refuse_external_links(matrix if group is None else group)
    if isinstance(matrix, zarr.Array | h5py.Dataset):
        stored = open_array(matrix)
        stored.check_bytes(stored.shape[0])  # samplers take memory for rows
        with reading(where(matrix)):
            return DenseSource(stored, dtype=original_dtype(matrix.attrs, stored.dtype))
    if isinstance(group, zarr.Group | h5py.Group):
        return _csr_group(group)
    if matrix is None:
        raise _not_rows(f"`{name}`", "None", "name what the data holds in `keys`, as `keys=('layers/counts', 'obs')`")
    kind = f"{type(matrix).__module__}.{type(matrix).__qualname__}"
    raise _not_rows(f"`{name}`", kind, "load it, or open it with zarr")


def _dask(array: Any, name: str) -> RowSource:
    stored = stored_behind(array)
    if stored is not None:
        return open_rows(stored, name=name)
    if not isinstance(array._meta, np.ndarray):
        advice = "only those that anndata read lazily can be read by rows; `.compute()` it, or store it"
        raise _not_rows(f"`{name}`", f"a sparse dask array ({type(array._meta).__name__})", advice)
    dask = DaskArray(_numeric(array, f"`{name}`"))
    return DenseSource(dask, dtype=dask.dtype)


def _csr_group(group: Any) -> CsrSource:
    with reading(where(group)):
        encoding = encoding_of(group)
    if encoding != "csr_matrix":
        advice = "see `Loader.add_dataset`"
        if encoding == "csc_matrix":
            advice = "convert it with `DatasetCollection.add_adatas`"
        elif "obs" in group:
            advice = "it holds an AnnData, which `Loader.add_adata` adds"
        raise _not_rows(where(group), f"a group encoded as {encoding or 'nothing'}", advice)
    with reading(where(group)), quiet_codecs():
        n_rows, n_columns = sparse_shape(group)
        before = _columns_before(group, n_rows)
        data = open_array(group["data"])
        indices = open_array(group["indices"], limit=n_columns, differences=before is not None)
        pointers = open_array(group["indptr"])
        pointers.check_bytes(pointers.shape[0] * pointers.dtype.itemsize)
        indptr = StoredValues(pointers)
        dtype = original_dtype(group.attrs, data.dtype)
    shape = n_rows, n_columns
    return CsrSource(data, indices, indptr, shape, dtype=dtype, where=where(group), before=before)


def _columns_before(group: Any, n_rows: int) -> StoredValues | None:
    """Return the column number before each row; None if there are none, or another program has added rows."""
    if COLUMNS_BEFORE not in group:
        return None
    stored = group[COLUMNS_BEFORE]
    known = stored.shape == (n_rows,) and stored.dtype == group["indices"].dtype
    return StoredValues(open_array(stored)) if known else None


def open_array(array: Any, *, limit: int | None = None, differences: bool = False) -> StoredArray:
    """Return the reader of a stored array of numbers: the native one if it knows the layout, else a library.

    Parameters
    ----------
    array
        A zarr array or an HDF5 dataset.
    limit
        Exclusive upper bound of the values, for column numbers.
    differences
        Whether pieces to be read know the value before them, which kernels need of values stored as differences.
    """
    import h5py

    from .._format.layout import chunk_layout
    from .library import ZarrLibraryArray

    _numeric(array, where(array))
    if isinstance(array, h5py.Dataset):
        from .hdf5 import open_hdf5

        return open_hdf5(array, limit=limit)
    _check_chunks(array)
    layout, fallback = chunk_layout(array), ZarrLibraryArray(array, limit=limit)
    if layout is None or _lacks_decoder(layout.codecs) or (layout.codecs.differences and not differences):
        return fallback
    if not isinstance(layout.folder, Path):
        from .remote import remote_array

        return remote_array(array, layout, fallback=fallback, limit=limit)
    from .native import NativeArray

    return NativeArray(layout, fallback=fallback, limit=limit)


def _check_chunks(array: Any) -> None:
    """Raise :class:`CorruptDataError` if chunks are larger than files can be: their bytes become addresses."""
    for chunk in filter(None, (array.chunks, array.shards)):
        if math.prod(chunk) * array.dtype.itemsize > _MOST_BYTES:
            raise CorruptDataError(
                f"{where(array)} must have chunks of at most {_MOST_BYTES:,} bytes, got chunks of {chunk}: damaged."
            )


def _lacks_decoder(codecs: ChunkCodecs) -> bool:
    from .._kernels.contexts import package_lacking

    for codec in filter(None, (codecs.compressor, "crc32c" if codecs.checksum else "")):
        package = package_lacking(codec)
        if package and codec != "blosc":  # of which importing the kernels warned
            warn(
                f"The installed {package} exports no decoder of {codec}: such arrays are read through zarr, which is "
                f"slower. `pip install {package}` installs one that does.",
            )
        if package:
            return True
    return False


def _numeric(array: Any, named: str) -> Any:
    refuse_external(array)
    if array.dtype.kind not in "biufc" or array.dtype.char in "gG":  # long doubles differ from machine to machine
        raise TypeError(
            f"{named} must hold booleans or numbers of at most 64 bits per part, got dtype {array.dtype}: leave it out "
            "of `keys`, or store it in another dtype."
        )
    if not array.shape:
        raise TypeError(f"{named} must have rows, got an array without dimensions.")
    return array


def _not_rows(named: str, got: str, advice: str) -> TypeError:
    return TypeError(
        f"{named} must be a NumPy array, a zarr or HDF5 array, or a CSR matrix (SciPy's, anndata's or a group), so "
        f"that rows can be read; got {got}: {advice}."
    )
