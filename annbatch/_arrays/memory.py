"""Arrays in memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._plan.ranges import item_size
from .array import Job, StoredArray, split_evenly

if TYPE_CHECKING:
    from .._plan.pieces import Pieces


class MemoryArray(StoredArray):
    """A NumPy array; its memory is not copied if it is C-contiguous and in native byte order."""

    def __init__(self, array: np.ndarray) -> None:
        self.shape = array.shape
        self.dtype = array.dtype.newbyteorder("=")
        self.flat = np.ascontiguousarray(array, dtype=self.dtype).reshape(-1)
        self._item = item_size(array.shape)

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``; see :class:`StoredArray`."""
        pieces = pieces.in_elements(self._item)
        return [
            partial(self._copy, pieces.start[part], pieces.length[part], pieces.dest[part], out)
            for part in split_evenly(pieces.length, n_jobs)
        ]

    def _copy(self, start: np.ndarray, length: np.ndarray, dest: np.ndarray, out: np.ndarray) -> int:
        from .._kernels.scatter import scatter_cast

        scatter_cast(self.flat, start, length, dest, out)
        return 0

    def describe(self) -> str:
        """Describe how the array is read."""
        return "memory"
