"""The two arrays of a CSR matrix, read together where rows are to become dense or lose columns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan import Pieces
from ..errors import CorruptDataError
from .array import Job, split_evenly
from .native import NativeArray
from .reads import plan_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .array import StoredArray

    Kernel = Callable[..., tuple[int, int, int]]
    Consume = Callable[..., None]


class CsrPair:
    """Values and column numbers of a CSR matrix.

    Parameters
    ----------
    data, indices
        Where both are native arrays with equal chunks, they are decoded a stretch at a time and never held as CSR;
        otherwise a job's rows are read first, then worked on.
    n_columns
        Column numbers must lie below it.
    """

    def __init__(self, data: StoredArray, indices: StoredArray, *, n_columns: int) -> None:
        self._data = data
        self._indices = indices
        self._n_columns = n_columns

    def dense_jobs(
        self,
        pieces: Pieces,
        columns: np.ndarray,
        width: int,
        out: np.ndarray,
        *,
        n_jobs: int,
        target_sum: float | None = None,
    ) -> list[Job]:
        """Return the work of adding rows to dense ones.

        Parameters
        ----------
        pieces
            The rows; ``dest`` is where in ``out`` the dense row begins. Empty rows are zeroed, too.
        columns
            ``(n_stored_columns,)`` int32, where each stored column goes, -1 for nowhere; empty for no change.
        width
            Columns of a dense row.
        out
            Flat; contents need not be zero.
        n_jobs
            How many threads there are to share the work.
        target_sum
            Where rows are to be normalised to a total and their logarithm taken: the total.
        """
        from .._select import add_dense, read_dense, zero_rows

        empty = pieces.dest[pieces.length == 0]
        jobs: list[Job] = [partial(_zero, zero_rows, empty, width, out)] if len(empty) else []
        filled = pieces.in_elements(1)
        for part in split_evenly(filled.length, n_jobs):
            jobs.append(self._job(filled.part(part), read_dense, add_dense, (columns, width, target_sum, out)))
        return jobs

    def selected_jobs(
        self,
        pieces: Pieces,
        columns: np.ndarray,
        count: np.ndarray,
        values: np.ndarray,
        indices: np.ndarray,
        *,
        n_jobs: int,
    ) -> list[Job]:
        """Return the work of putting the wanted elements of each row into its slot.

        Parameters
        ----------
        pieces
            The rows, none empty; ``dest`` is where the row's slot begins, which has room for all of it.
        columns
            ``(n_stored_columns,)`` int32, new number of each stored column, -1 for those not wanted.
        count
            ``(n_pieces,)`` zeros; becomes the elements in each slot.
        values, indices
            Flat: the slots.
        n_jobs
            How many threads there are to share the work.
        """
        from .._select import keep_selected, read_selected

        wanted = np.packbits(columns >= 0, bitorder="little")
        return [
            self._job(pieces.part(part), read_selected, keep_selected, (columns, wanted, count[part], values, indices))
            for part in split_evenly(pieces.length, n_jobs)
        ]

    def _job(self, pieces: Pieces, kernel: Kernel, consume: Consume, arguments: tuple[Any, ...]) -> Job:
        from .._scatter import kernels_cast

        data, indices = self._data, self._indices
        if not (isinstance(data, NativeArray) and isinstance(indices, NativeArray)):
            return partial(self._read_then_consume, pieces, consume, arguments)
        if data.layout.chunk != indices.layout.chunk or not kernels_cast(data.dtype, data.dtype):
            return partial(self._read_then_consume, pieces, consume, arguments)
        (gap, stretch), (other_gap, other_stretch) = data.tuning(), indices.tuning()
        reads = plan_reads(
            pieces, chunk=data.layout.chunk, gap=max(gap, other_gap), stretch=min(stretch, other_stretch)
        )
        located = data.locate(reads), indices.locate(reads)
        return partial(self._read_together, data, indices, reads, located, pieces, kernel, arguments)

    @staticmethod
    def _read_together(
        data: NativeArray,
        indices: NativeArray,
        reads: Any,
        located: Any,
        pieces: Pieces,
        kernel: Kernel,
        arguments: tuple[Any, ...],
    ) -> int:
        from .._decode import DONE

        inputs = (
            data.kernel_input(reads, located[0], stored=data.dtype, scratch="decoded"),
            indices.kernel_input(reads, located[1], stored=indices.dtype, scratch="decoded too"),
        )
        fields = (pieces.start, pieces.length, pieces.dest)
        status, number, n_bytes = kernel(*inputs, reads.fields, fields, *arguments)
        if status != DONE:
            array, read = (data, number) if number >= 0 else (indices, -1 - number)
            raise array.error(status, int(reads.chunk[read]))
        return n_bytes

    def _read_then_consume(self, pieces: Pieces, consume: Consume, arguments: tuple[Any, ...]) -> int:
        from .._scatter import kernels_cast

        dest = np.cumsum(pieces.length) - pieces.length
        size = int(pieces.length.sum())
        read = []
        n_bytes = 0
        for array in (self._data, self._indices):
            dtype = array.dtype if kernels_cast(array.dtype, array.dtype) else np.dtype(np.float32)  # for float16
            out = np.empty(size, dtype=dtype)
            for job in array.jobs(Pieces(pieces.start, pieces.length, dest), out, n_jobs=1):
                n_bytes += job()
            read.append(out)
        if size and not 0 <= read[1].min() <= read[1].max() < self._n_columns:
            raise CorruptDataError(
                f"Column numbers must lie in 0..{self._n_columns - 1}, got {read[1].min()}..{read[1].max()}: damaged."
            )
        # Read one after the other, the pieces are rows of a matrix of their own.
        consume(*read, 0, size, 0, (dest, pieces.length, pieces.dest), *arguments)
        return n_bytes


def _zero(kernel: Consume, dest: np.ndarray, width: int, out: np.ndarray) -> int:
    kernel(dest, width, out)
    return 0
