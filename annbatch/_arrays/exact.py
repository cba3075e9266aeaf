"""Integers of 64 bits that are joined with floats, which round those beyond 2**53: none is rounded in silence."""

from __future__ import annotations

from functools import partial

import numpy as np

from .._plan.pieces import Pieces
from .._plan.ranges import item_size
from .array import Job, StoredArray, split_evenly
from .values import first_rounded


def may_round(stored: np.dtype, dtype: np.dtype) -> bool:
    """Return whether values may be rounded when they are cast to a common dtype of several."""
    return stored.kind in "iu" and stored.itemsize == 8 and dtype.kind in "fc"


class ExactArray(StoredArray):
    """An array of integers that are read as floats; one that is rounded is an error.

    Parameters
    ----------
    array
        The integers.
    target
        Dtype that they are cast to.
    where
        Name of the array in errors.
    """

    def __init__(self, array: StoredArray, target: np.dtype, where: str) -> None:
        self.shape, self.dtype, self.items_per_fetch = array.shape, array.dtype, array.items_per_fetch
        self._array, self._target, self._where = array, target, where
        self._item = item_size(array.shape)

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``; see :class:`StoredArray`."""
        return [
            partial(self._read_and_cast, pieces.part(part), out)
            for part in split_evenly(pieces.length * self._item, n_jobs)
        ]

    def _read_and_cast(self, pieces: Pieces, out: np.ndarray) -> int:
        from .._kernels.scatter import scatter_cast

        length = pieces.length * self._item
        start = np.cumsum(length) - length
        values = np.empty(int(length.sum()), self.dtype)
        n_bytes = sum(job() for job in self._array.jobs(Pieces(pieces.start, pieces.length, start), values, n_jobs=1))
        rounded = first_rounded(values, self._target)
        if rounded is not None:
            raise ValueError(
                f"{self._where} must hold integers that are exact in {self._target}, the common dtype of all datasets, "
                f"got {rounded}: give the loader a `dtype`, which X and layers take, or the datasets one dtype."
            )
        scatter_cast(values, start, length, pieces.dest, out)
        return n_bytes

    def check_bytes(self, n_bytes: int) -> None:
        """Raise if hardly any of ``n_bytes`` to read are stored."""
        self._array.check_bytes(n_bytes)

    def items_decoded(self) -> int:
        """Return about how many items are decoded for a single one."""
        return self._array.items_decoded()

    def describe(self) -> str:
        """Describe how the array is read."""
        return self._array.describe()
