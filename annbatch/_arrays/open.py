"""Choose the reader of a user's matrix."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .._format.attributes import DTYPE_ATTRIBUTE, encoding_of
from .dask import DaskArray, is_dask, stored_behind
from .memory import MemoryArray
from .rows import CsrSource, DenseSource
from .values import HeldValues, StoredValues

if TYPE_CHECKING:
    from .._format.codecs import ChunkCodecs
    from .array import StoredArray

RowSource: TypeAlias = CsrSource | DenseSource


def open_rows(matrix: Any, *, name: str = "X") -> RowSource:
    """Return the source that reads a matrix's rows.

    Parameters
    ----------
    matrix
        A NumPy array, a SciPy CSR matrix, a zarr or HDF5 array, a zarr or HDF5 group in anndata's CSR encoding,
        anndata's wrapper of such a group, or a dask array: a dense one, or one that anndata read lazily.
    name
        Name of the matrix in errors.

    Raises
    ------
    TypeError
        If it is anything else, such as a CSC matrix.
    """
    import h5py
    import scipy.sparse as sp
    import zarr

    if is_dask(matrix):
        return _dask(matrix, name)
    if isinstance(matrix, np.ndarray):
        return _dense(MemoryArray(_numeric(matrix, name)), {})
    if isinstance(matrix, sp.csr_matrix | sp.csr_array):
        data, indices = MemoryArray(_numeric(matrix.data, name)), MemoryArray(matrix.indices)
        return CsrSource(data, indices, HeldValues(matrix.indptr), n_columns=matrix.shape[1], dtype=data.dtype)
    if sp.issparse(matrix):
        raise _not_rows(name, f"a SciPy {type(matrix).__name__}", "`.tocsr()` makes it CSR")
    if isinstance(matrix, zarr.Array | h5py.Dataset):
        return _dense(open_array(matrix, name=name), dict(matrix.attrs))
    group = matrix if isinstance(matrix, zarr.Group | h5py.Group) else getattr(matrix, "group", None)
    if isinstance(group, zarr.Group | h5py.Group):
        return _csr_group(group, name)
    raise _not_rows(name, f"{type(matrix).__module__}.{type(matrix).__qualname__}", "load it, or open it with zarr")


def _dask(array: Any, name: str) -> RowSource:
    stored = stored_behind(array)
    if stored is not None:
        return open_rows(stored, name=name)
    if not isinstance(array._meta, np.ndarray):
        advice = "only those that anndata read lazily can be read by rows; `.compute()` it, or store it"
        raise _not_rows(name, f"a sparse dask array ({type(array._meta).__name__})", advice)
    return _dense(DaskArray(_numeric(array, name)), {})


def _csr_group(group: Any, name: str) -> CsrSource:
    encoding = encoding_of(group)
    if encoding != "csr_matrix":
        advice = (
            "convert it with `DatasetCollection.add_adatas`" if encoding == "csc_matrix" else "see `Loader.add_dataset`"
        )
        raise _not_rows(name, f"a group encoded as {encoding!r}", advice)
    n_columns = int(group.attrs["shape"][1])
    data, indices = open_array(group["data"], name=name), open_array(group["indices"], name=name, limit=n_columns)
    dtype = _first_dtype(dict(group.attrs), data)
    indptr = StoredValues(open_array(group["indptr"], name=name))
    return CsrSource(data, indices, indptr, n_columns=n_columns, dtype=dtype)


def _dense(array: StoredArray, attributes: dict[str, Any]) -> DenseSource:
    return DenseSource(array, dtype=_first_dtype(attributes, array))


def open_array(array: Any, *, name: str = "X", limit: int | None = None) -> StoredArray:
    """Return the reader of a stored array of numbers: the native one if it knows the layout, else a library.

    Parameters
    ----------
    array
        A zarr array or an HDF5 dataset.
    name
        Name of the array in errors.
    limit
        Exclusive upper bound of the values, for column numbers.
    """
    import h5py

    from .._format.layout import chunk_layout
    from .library import ZarrLibraryArray

    _numeric(array, name)
    if isinstance(array, h5py.Dataset):
        from .hdf5 import open_hdf5

        return open_hdf5(array, limit=limit)
    layout, fallback = chunk_layout(array), ZarrLibraryArray(array, limit=limit)
    if layout is None or _lacks_decoder(layout.codecs):
        return fallback
    if not isinstance(layout.folder, Path):
        from .remote import remote_array

        return remote_array(array, layout, fallback=fallback, limit=limit)
    from .native import NativeArray

    return NativeArray(layout, fallback=fallback, limit=limit)


def _lacks_decoder(codecs: ChunkCodecs) -> bool:
    from .._kernels.contexts import package_lacking

    for codec in filter(None, (codecs.compressor, "crc32c" if codecs.checksum else "")):
        package = package_lacking(codec)
        if package and codec != "blosc":  # of which importing the kernels warned
            warnings.warn(
                f"The installed {package} exports no decoder of {codec}: such arrays are read through zarr, which is "
                f"slower. `pip install {package}` installs one that does.",
                stacklevel=3,
            )
        if package:
            return True
    return False


def _first_dtype(attributes: dict[str, Any], array: StoredArray) -> np.dtype:
    stored: str | None = attributes.get(DTYPE_ATTRIBUTE)
    return array.dtype if stored is None else np.dtype(stored)


def _numeric(array: Any, name: str) -> Any:
    if array.dtype.kind not in "biufc":
        raise TypeError(f"`{name}` must hold numbers or booleans, got dtype {array.dtype}.")
    if not array.shape:
        raise TypeError(f"`{name}` must have rows, got an array without dimensions.")
    return array


def _not_rows(name: str, got: str, advice: str) -> TypeError:
    return TypeError(
        f"`{name}` must be a NumPy array, a zarr or HDF5 array, or a CSR matrix (SciPy's, anndata's or a group), so "
        f"that rows can be read; got {got}: {advice}."
    )
