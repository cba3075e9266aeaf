"""Open a file or folder that holds an AnnData object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import zarr

from .._arrays.hdf5_files import refuse_external_links
from .._format.metadata_files import LocalStore
from .._remote.urls import refuse_other_urls
from ..errors import StoreError, reading

if TYPE_CHECKING:
    import os


def open_path(source: str | os.PathLike[str], *, name: str = "adata") -> h5py.File | zarr.Group:
    """Open an h5ad file, which the caller closes, or a zarr store; for reading.

    Parameters
    ----------
    source, name
        The path, and the argument that it is.

    Raises
    ------
    ValueError
        If it is a URL.
    FileNotFoundError
        If there is nothing at the path.
    StoreError
        If it is neither, or an h5ad file that leads to other files.
    """
    refuse_other_urls(source, name)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"No such input: {path}.")
    if path.is_dir():
        try:
            with reading(str(path)):
                return zarr.open_group(LocalStore(path, read_only=True), mode="r")
        except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
            raise StoreError(
                f"{path} must be an h5ad file or a zarr store, got a folder without zarr metadata."
            ) from error
    if not path.is_file():  # HDF5 would wait for a pipe
        raise StoreError(f"{path} must be an h5ad file or a zarr store, got something that is not a regular file.")
    if not h5py.is_hdf5(path):
        advice = "gunzip it" if path.suffix == ".gz" else "`load_adata` may read other formats"
        raise StoreError(f"{path} must be an h5ad file or a zarr store, got a file that is not HDF5: {advice}.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StoreError(f"{path} cannot be opened as HDF5: damaged or truncated? {error}") from error
    try:
        refuse_external_links(file)
    except StoreError:
        file.close()
        raise
    return file
