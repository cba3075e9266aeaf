"""Lazy arrays (dask): the stored arrays behind them where these are known, else their blocks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._format.metadata_files import anchor, bounded_reads
from .library import LibraryArray


def is_dask(array: Any) -> bool:
    """Return whether an object is a dask array, without importing dask."""
    return hasattr(array, "dask") and hasattr(array, "compute")


def stored_behind(array: Any) -> Any | None:
    """Return the stored element that a dask array reads unchanged, or None if there is none, or it does more.

    Recognises arrays of anndata's ``read_lazy`` and of ``dask.array.from_zarr``. Reading the stored element itself
    avoids dask's blocks, of a thousand rows each.
    """
    known = len(array.dask.layers) == 1 or (len(array.dask.layers) == 2 and array.name.startswith("from-zarr-"))
    sources = _sources_of(array) if known else []
    if len(sources) != 1:
        return None
    source, name = sources[0]
    if isinstance(source, Path):
        from .hdf5_files import open_known

        source = open_known(source, name)
    found = bounded_reads(source)
    shape = tuple(found.attrs["shape"]) if hasattr(found, "keys") else getattr(found, "shape", None)
    return found if shape == array.shape else None


def zarr_behind(array: Any) -> list[Any]:
    """Return the zarr arrays and groups that a dask array reads, if they are known, whatever else it does."""
    return [source for source, _ in _sources_of(array) if not isinstance(source, Path)]


def _sources_of(array: Any) -> list[tuple[Any, str]]:
    """Return zarr elements, and files with the names of elements, that are read for a dask array."""
    found = []
    for name, layer in array.dask.layers.items():
        for function, _ in getattr(layer, "indices", ()):
            if isinstance(function, partial) and function.func.__name__ == "make_dask_chunk":
                source, element = function.args
                found.append((source if isinstance(source, Path) else getattr(source, "group", source), element))
        if name.startswith("original-from-zarr-"):
            found += [(element, "") for element in layer.values()]
    return found


class DaskArray(LibraryArray):
    """A dense dask array; each reading thread computes one block at a time."""

    def __init__(self, array: Any) -> None:
        super().__init__(array.shape, array.dtype.newbyteorder("="), chunk=max(array.chunks[0], default=1))
        anchor(zarr_behind(array))
        self._array = array

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._array[start:stop].compute(scheduler="synchronous"), dtype=self.dtype)

    def describe(self) -> str:
        """Describe how the array is read."""
        return "dask"
