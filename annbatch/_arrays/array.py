"""What every kind of storage provides: items of an array, copied to their places in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .._plan.pieces import Pieces

if TYPE_CHECKING:
    from .direct_io import DirectIO

Job = Callable[[], int]
"""Part of a read, run once on any thread; returns the bytes it fetched."""

_SMALLEST_JOB = 1 << 16
"""Elements below which splitting a read costs more than it gains (handing a job to a thread takes some 20 us)."""


class StoredArray(ABC):
    """An array whose items along the first axis can be read into place.

    Implementations are thread-safe and keep neither ``pieces`` nor ``out`` once the jobs have run.

    Attributes
    ----------
    shape, dtype
        Shape and dtype of the array.
    items_per_fetch
        Items that are fetched together: two jobs that share them would fetch them twice. 1 where that costs little, as
        on a local disk.
    requested_bytes, decoded_bytes
        Bytes of the values requested so far, and of the chunks decoded for them; 0 where only what is requested is
        decoded, give or take a compression block.
    direct_io
        Reads what the page cache lacks of files on the local disk; None: the page cache does.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    items_per_fetch: int = 1
    requested_bytes: int = 0
    decoded_bytes: int = 0
    direct_io: DirectIO | None = None

    @abstractmethod
    def jobs(self, pieces: Pieces, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying ``pieces`` to ``out``, cut into about ``n_jobs`` independent parts.

        Parameters
        ----------
        pieces
            What to copy where; ``start`` and ``length`` count items, ``dest`` counts elements of ``out``. Starts
            ascend, and so do ends.
        out
            Flat, writable memory with room for every piece; values are cast to its dtype.
        n_jobs
            Number of threads that share the work.
        """

    @abstractmethod
    def describe(self) -> str:
        """Describe in a word or two how the array is read, e.g. ``"zarr"``."""

    def check_bytes(self, n_bytes: int) -> None:  # noqa: B027  # nothing to check in memory
        """Raise if hardly any of ``n_bytes`` to read are stored, before memory is taken for them."""

    def items_decoded(self) -> int:
        """Return about how many items are decoded for a single one."""
        return 1

    def stored_bytes(self) -> int:
        """Return about the size of the files that ``direct_io`` could read."""
        return 0

    def read(
        self, start: np.ndarray, length: np.ndarray, dtype: np.dtype | None = None, *, before: np.ndarray | None = None
    ) -> tuple[np.ndarray, int]:
        """Read ranges of a flat array one after the other, on this thread; return the values and the bytes fetched.

        ``before`` is that of :class:`~annbatch._plan.pieces.Pieces`.
        """
        out = np.empty(int(length.sum()), dtype=self.dtype if dtype is None else dtype)
        jobs = self.jobs(Pieces(start, length, np.cumsum(length) - length, before), out, n_jobs=1)
        return out, sum(job() for job in jobs)


def split_evenly(elements: np.ndarray, n_jobs: int) -> list[slice]:
    """Cut a sequence of parts into at most ``n_jobs`` stretches of about as many elements each.

    Parameters
    ----------
    elements
        ``(n,)`` elements in each part.
    n_jobs
        Number of stretches; fewer are made where they would be too small to be worth a thread.
    """
    ends = np.cumsum(elements)
    total = int(ends[-1]) if len(ends) else 0
    n_jobs = max(1, min(n_jobs, total // _SMALLEST_JOB))
    cuts = np.searchsorted(ends, np.linspace(0, total, n_jobs + 1)[1:-1])
    bounds = [0, *(int(cut) for cut in cuts), len(elements)]
    return [slice(a, b) for a, b in pairwise(bounds) if a < b]
