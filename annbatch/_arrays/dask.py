"""Lazy arrays (dask): the stored arrays behind them where these are known, else their blocks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .library import LibraryArray


def is_dask(array: Any) -> bool:
    """Return whether an object is a dask array, without importing dask."""
    return hasattr(array, "dask") and hasattr(array, "compute")


def stored_behind(array: Any) -> Any | None:
    """Return the stored element that a dask array reads unchanged, or None if there is none, or it does more.

    Recognises arrays of anndata's ``read_lazy`` and of ``dask.array.from_zarr``. Reading the stored element itself
    avoids dask's blocks, of a thousand rows each.
    """
    layers = list(array.dask.layers.values())
    found = None
    if len(layers) == 1:
        for function, _ in getattr(layers[0], "indices", ()):
            if isinstance(function, partial) and function.func.__name__ == "make_dask_chunk":
                found = _element(*function.args)
    elif len(layers) == 2 and array.name.startswith("from-zarr-"):
        found = dict(layers[0]).get(f"original-{array.name}")
    if found is None:
        return None
    shape = tuple(found.attrs["shape"]) if hasattr(found, "keys") else getattr(found, "shape", None)
    return found if shape == array.shape else None


def _element(source: Any, name: str) -> Any:
    if isinstance(source, Path):
        from .hdf5_files import open_known

        return open_known(source, name)
    return getattr(source, "group", source)


class DaskArray(LibraryArray):
    """A dense dask array; each reading thread computes one block at a time."""

    def __init__(self, array: Any) -> None:
        super().__init__(array.shape, array.dtype.newbyteorder("="), chunk=max(array.chunks[0], default=1))
        self._array = array

    def _read(self, start: int, stop: int) -> np.ndarray:
        return np.asarray(self._array[start:stop].compute(scheduler="synchronous"), dtype=self.dtype)

    def describe(self) -> str:
        """Describe how the array is read."""
        return "dask"
