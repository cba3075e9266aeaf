"""The one thing a storage kind has to do: copy stored items of an array to given places."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from .._plan.pieces import Pieces

Job = Callable[[], int]
"""Part of a reading, run on any thread once; returns the bytes it fetched."""

_SMALLEST_JOB = 1 << 16
"""Elements below which splitting a reading costs more than it gains (a job's hand-over takes some 20 us)."""


class StoredArray(Protocol):
    """An array whose items along the first axis can be read into place.

    Implementations are thread-safe and keep neither ``pieces`` nor ``out`` once the jobs have run.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``, cut into about ``n_jobs`` independent parts.

        Parameters
        ----------
        pieces
            What to copy where; ``start`` and ``length`` count items, ``dest`` counts elements of ``out``. Starts
            ascend, and so do ends.
        out
            Flat and writeable; values are cast to its dtype. Must hold every piece.
        n_jobs
            How many threads there are to share the work.
        """

    def describe(self) -> str:
        """Say in a word or two how the array is read, e.g. ``"zarr (zarrs)"``."""


def split_evenly(elements: np.ndarray, n_jobs: int) -> list[slice]:
    """Cut a sequence of parts into at most ``n_jobs`` stretches of about as many elements each.

    Parameters
    ----------
    elements
        ``(n,)`` elements of each part.
    n_jobs
        How many stretches are wanted; fewer are made where they would be too small to be worth a thread.
    """
    ends = np.cumsum(elements)
    total = int(ends[-1]) if len(ends) else 0
    n_jobs = max(1, min(n_jobs, total // _SMALLEST_JOB))
    cuts = np.searchsorted(ends, np.linspace(0, total, n_jobs + 1)[1:-1])
    bounds = [0, *(int(cut) for cut in cuts), len(elements)]
    return [slice(a, b) for a, b in pairwise(bounds) if a < b]
