"""The two arrays of a CSR matrix, read together where rows are to become dense or lose columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.pieces import Pieces
from ..errors import CorruptDataError
from .array import Job, split_evenly
from .memory import MemoryArray
from .native import NativeArray
from .read_plan import plan_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .array import StoredArray
    from .chunk_locations import ChunkLocations
    from .read_plan import Reads

    Kernel = Callable[..., tuple[int, int, int]]
    Consume = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Share:
    """What one job reads of two arrays.

    Attributes
    ----------
    data, indices
        The arrays.
    reads
        Stretches of both.
    located
        Where these lie, in the one and in the other.
    """

    data: NativeArray
    indices: NativeArray
    reads: Reads
    located: tuple[ChunkLocations, ChunkLocations]


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
        from .._kernels.csr import add_dense_rows, read_dense, zero_rows

        empty = pieces.dest[pieces.length == 0]
        jobs: list[Job] = [partial(_zero, zero_rows, empty, width, out)] if len(empty) else []
        filled = pieces.in_elements(1)
        arguments = (columns, columns >= 0, width, target_sum, out)
        for _, some, share in self._shares(filled, n_jobs):
            jobs.append(self._job(some, share, read_dense, add_dense_rows, arguments))
        return jobs

    def selected_jobs(
        self,
        pieces: Pieces,
        columns: np.ndarray,
        begin: np.ndarray,
        count: np.ndarray,
        values: np.ndarray,
        indices: np.ndarray,
        *,
        n_sorted: int,
        n_jobs: int,
    ) -> list[Job]:
        """Return the work of keeping the wanted elements of each row, those of a job's rows one after the other.

        Parameters
        ----------
        pieces
            The rows, none empty, none twice; ``dest`` is where the row would begin if all of it were kept.
        columns
            ``(n_stored_columns,)`` int32, new number of each stored column, -1 for those not wanted.
        begin, count
            ``(n_pieces,)``; become where each row's elements begin and how many there are. ``count`` must be zero.
        values, indices
            Flat, with room for all of every row.
        n_sorted
            How many columns there are, where the elements of a row must be sorted anew; else 0.
        n_jobs
            How many threads there are to share the work.
        """
        from .._kernels.csr import keep_selected, read_selected

        selection = columns, columns >= 0
        jobs: list[Job] = []
        for part, some, share in self._shares(pieces, n_jobs):
            cursor = some.dest[:1].copy()
            arguments = (selection, cursor, begin[part], count[part], values, indices)
            job = self._job(some, share, read_selected, keep_selected, arguments)
            jobs.append(partial(_sorted, job, n_sorted, *arguments[2:]) if n_sorted else job)
        return jobs

    def renumbered_jobs(self, pieces: Pieces, columns: np.ndarray, out: np.ndarray, *, n_jobs: int) -> list[Job]:
        """Return the work of copying column numbers as ``columns`` numbers them anew: ``(n_stored_columns,)`` int32."""
        array = self._indices
        pieces = pieces.in_elements(1)
        if not isinstance(array, NativeArray):
            parts = split_evenly(pieces.length, n_jobs)
            return [partial(self._read_then_renumber, pieces.part(part), columns, out) for part in parts]
        if not len(pieces):
            return []
        gap, stretch = array.tuning()
        reads = plan_reads(pieces, chunk=array.layout.chunk, gap=gap, stretch=stretch)
        located = array.locate(reads)
        parts = split_evenly(reads.stop - reads.start, located.n_jobs(n_jobs))
        return [
            partial(self._read_renumbered, array, reads.part(part), located.part(part), pieces, columns, out)
            for part in parts
        ]

    @staticmethod
    def _read_renumbered(
        array: NativeArray, reads: Any, located: Any, pieces: Pieces, columns: np.ndarray, out: np.ndarray
    ) -> int:
        from .._kernels.csr import read_renumbered
        from .._kernels.decode import DONE

        fields, total = (pieces.start, pieces.length, pieces.dest), 0
        for some in reads.in_few_files(array.layout.per_file):
            few = reads.part(some)
            with located.part(some).opened() as there:
                inputs = array.kernel_input(few, there, stored=array.dtype, scratch="decoded")
                status, number, n_bytes = read_renumbered(inputs, few.fields, fields, columns, out)
            if status != DONE:
                raise array.error(status, int(few.chunk[number]))
            total += int(n_bytes)
        return total

    def _read_then_renumber(self, pieces: Pieces, columns: np.ndarray, out: np.ndarray) -> int:
        from .._kernels.scatter import scatter_cast

        dest = np.cumsum(pieces.length) - pieces.length
        read = np.empty(int(pieces.length.sum()), dtype=self._indices.dtype)
        jobs = self._indices.jobs(Pieces(pieces.start, pieces.length, dest), read, n_jobs=1)
        n_bytes = sum(job() for job in jobs)
        self._check_columns(Pieces(dest, pieces.length, dest), read)
        scatter_cast(columns[read], dest, pieces.length, pieces.dest, out)
        return n_bytes

    def _shares(self, pieces: Pieces, n_jobs: int) -> list[tuple[slice, Pieces, Share | None]]:
        """Cut rows into parts, each with where its bytes lie; None where kernels do not read the two arrays together.

        They are located for all parts at once, so that a chunk that two of them need is fetched once.
        """
        from .._kernels.scatter import kernels_cast

        data, indices = self._data, self._indices
        if not (isinstance(data, NativeArray) and isinstance(indices, NativeArray)) or not (
            len(pieces) and data.layout.chunk == indices.layout.chunk and kernels_cast(data.dtype, data.dtype)
        ):
            return [(part, pieces.part(part), None) for part in split_evenly(pieces.length, n_jobs)]
        (gap, stretch), (other_gap, other_stretch) = data.tuning(), indices.tuning()
        reads = plan_reads(
            pieces, chunk=data.layout.chunk, gap=max(gap, other_gap), stretch=min(stretch, other_stretch)
        )
        values, columns = data.locate(reads), indices.locate(reads)
        shares: list[tuple[slice, Pieces, Share | None]] = []
        for part in split_evenly(pieces.length, max(values.n_jobs(n_jobs), columns.n_jobs(n_jobs))):
            some = pieces.part(part)
            stop = int(some.start[-1] + some.length[-1])
            which, stretches = reads.between(int(some.start[0]), stop, part.start)
            shares.append((part, some, Share(data, indices, stretches, (values.part(which), columns.part(which)))))
        return shares

    def _job(
        self, pieces: Pieces, share: Share | None, kernel: Kernel, consume: Consume, arguments: tuple[Any, ...]
    ) -> Job:
        if share is None:
            return partial(self._read_then_consume, pieces, consume, arguments)
        return partial(self._read_together, share, pieces, kernel, arguments)

    @staticmethod
    def _read_together(share: Share, pieces: Pieces, kernel: Kernel, arguments: tuple[Any, ...]) -> int:
        from .._kernels.decode import DONE

        data, indices, reads, located = share.data, share.indices, share.reads, share.located
        fields, total = (pieces.start, pieces.length, pieces.dest), 0
        for some in reads.in_few_files(min(data.layout.per_file, indices.layout.per_file)):
            few = reads.part(some)
            with located[0].part(some).opened() as there, located[1].part(some).opened() as other:
                inputs = (
                    data.kernel_input(few, there, stored=data.dtype, scratch="decoded"),
                    indices.kernel_input(few, other, stored=indices.dtype, scratch="decoded too"),
                )
                status, number, n_bytes = kernel(*inputs, few.fields, fields, *arguments)
            if status != DONE:
                array, read = (data, number) if number >= 0 else (indices, -1 - number)
                raise array.error(status, int(few.chunk[read]))
            total += n_bytes
        return total

    def _read_then_consume(self, pieces: Pieces, consume: Consume, arguments: tuple[Any, ...]) -> int:
        from .._kernels.scatter import kernels_cast

        data, indices = self._data, self._indices
        if isinstance(data, MemoryArray) and isinstance(indices, MemoryArray) and kernels_cast(data.dtype, data.dtype):
            self._check_columns(pieces, indices.flat)
            fields = pieces.start, pieces.length, pieces.dest
            consume(data.flat, indices.flat, 0, len(data.flat), 0, fields, *arguments)
            return 0

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
        self._check_columns(Pieces(dest, pieces.length, dest), read[1])
        # Read one after the other, the pieces are rows of a matrix of their own.
        consume(*read, 0, size, 0, (dest, pieces.length, pieces.dest), *arguments)
        return n_bytes

    def _check_columns(self, pieces: Pieces, indices: np.ndarray) -> None:
        """Raise where column numbers of the pieces, which become addresses, are none."""
        from .._kernels.csr import column_range

        smallest, largest = column_range(indices, pieces.start, pieces.length)
        if not 0 <= smallest <= largest < self._n_columns:
            raise CorruptDataError(
                f"Column numbers must lie in 0..{self._n_columns - 1}, got {smallest}..{largest}: damaged."
            )


def _zero(kernel: Consume, dest: np.ndarray, width: int, out: np.ndarray) -> int:
    kernel(dest, width, out)
    return 0


def _sorted(
    job: Job, n_columns: int, begin: np.ndarray, count: np.ndarray, values: np.ndarray, indices: np.ndarray
) -> int:
    from .._kernels.sort import sort_rows

    n_bytes = job()
    sort_rows(begin, count, n_columns, values, indices)
    return n_bytes
