"""The two arrays of a CSR matrix, read together where rows become dense or lose columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CorruptDataError
from .array import Job, split_evenly
from .memory import MemoryArray
from .moments import ColumnSums
from .native import NativeArray
from .read_plan import plan_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._plan.pieces import Pieces
    from .array import StoredArray
    from .chunk_locations import ChunkLocations
    from .read_plan import Reads

    Kernel = Callable[..., tuple[int, int, int]]
    Consume = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Share:
    """Stretches of both arrays that one job reads, and where their chunks lie in each array."""

    reads: Reads
    data: ChunkLocations
    indices: ChunkLocations


class CsrPair:
    """Values and column numbers of a CSR matrix.

    Parameters
    ----------
    data, indices
        The arrays. Two native ones with equal chunks are decoded stretch by stretch, without CSR rows in between;
        of others, each job reads its rows first.
    n_columns
        Exclusive upper bound of the column numbers.
    where
        Name of the matrix in errors.
    """

    def __init__(self, data: StoredArray, indices: StoredArray, *, n_columns: int, where: str) -> None:
        self._data = data
        self._indices = indices
        self._n_columns = n_columns
        self._where = where

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
        """Return the work of making rows dense.

        Parameters
        ----------
        pieces
            The rows; ``dest`` is where in ``out`` the dense row begins. Empty rows are zeroed, too.
        columns
            ``(n_stored_columns,)`` int32 new number of each stored column, -1 to drop it; empty to keep all.
        width
            Columns per dense row.
        out
            Flat memory; contents need not be zero.
        n_jobs
            Number of threads that share the work.
        target_sum
            Total to normalise each row to before log1p; None to leave values unchanged.
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
        """Return the work of selecting columns of rows; the rows of a job are written one after the other.

        Parameters
        ----------
        pieces
            The rows, none empty, none twice; ``dest`` is where the row would begin if all of it were kept.
        columns
            ``(n_stored_columns,)`` int32 new number of each stored column, -1 to drop it.
        begin, count
            ``(n_pieces,)`` output: first element of each row, and its number of elements. ``count`` must be zero.
        values, indices
            Flat memory with room for all of every row.
        n_sorted
            Number of selected columns if the elements of each row must be sorted afterwards, else 0.
        n_jobs
            Number of threads that share the work.
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
        """Return the work of copying column numbers, renumbered by ``columns``: ``(n_stored_columns,)`` int32."""
        from .._kernels.csr import read_renumbered

        array = self._indices
        pieces = pieces.in_elements(1)
        if isinstance(array, NativeArray):
            return array.kernel_jobs(read_renumbered, pieces, array.dtype, columns, out, n_jobs=n_jobs)
        parts = split_evenly(pieces.length, n_jobs)
        return [partial(self._read_then_renumber, pieces.part(part), columns, out) for part in parts]

    def moments_jobs(
        self, pieces: Pieces, columns: np.ndarray, width: int, rows: np.ndarray
    ) -> list[tuple[Job, ColumnSums]]:
        """Return the work of adding up rows, one job for all where requests do not ask for more; each with its sums.

        Parameters
        ----------
        pieces
            At most 16,384 rows; ``dest`` is where in ``rows`` their sums are.
        columns
            ``(n_stored_columns,)`` int32 new number of each stored column, -1 to drop it; empty to keep all.
        width
            Number of columns.
        rows
            ``(n_rows, 2)`` float64 zeros, to which the sum and the number of non-zeros of each row are added.
        """
        jobs: list[tuple[Job, ColumnSums]] = []
        for _, some, share in self._shares(pieces.in_elements(1), 1):
            sums = ColumnSums(width)
            jobs.append((partial(self._add_moments, some, share, columns, rows, sums), sums))
        return jobs

    def _add_moments(
        self, pieces: Pieces, share: Share | None, columns: np.ndarray, rows: np.ndarray, sums: ColumnSums
    ) -> int:
        from .._kernels.moments import UNSORTED, add_moments, read_moments
        from .._kernels.repeats import add_repeats

        arguments, n_bytes = sums.arguments(columns, rows), 0
        if share is not None:
            n_bytes = self._read_together(share, pieces, read_moments, arguments)
            if not sums.state[UNSORTED]:
                return n_bytes
            sums.clear()  # and begin anew with whole rows: a column that a row repeats has one value, their sum
            rows[pieces.dest] = 0
        values, indices, start, read = self.read_rows(pieces)
        edges = np.append(start, len(values))
        if add_repeats(indices, edges, self._n_columns, None):
            values = values.astype(np.float64)  # sums may exceed the stored dtype
            add_repeats(indices, edges, self._n_columns, values)
        add_moments(values, indices, 0, len(values), 0, (start, pieces.length, pieces.dest), *arguments)
        return n_bytes + read

    def _read_then_renumber(self, pieces: Pieces, columns: np.ndarray, out: np.ndarray) -> int:
        from .._kernels.scatter import scatter_cast

        indices, n_bytes = self._indices.read(pieces.start, pieces.length, before=pieces.before)
        start = np.cumsum(pieces.length) - pieces.length
        self._check_columns(indices, start, pieces.length)
        scatter_cast(columns[indices], start, pieces.length, pieces.dest, out)
        return n_bytes

    def _shares(self, pieces: Pieces, n_jobs: int) -> list[tuple[slice, Pieces, Share | None]]:
        """Cut rows into parts with the share of each; None where kernels cannot read the two arrays together.

        Chunks are located for all parts at once, so that a chunk that two parts need is fetched once.
        """
        from .._kernels.scatter import kernels_cast

        data, indices = self._data, self._indices
        if not (isinstance(data, NativeArray) and isinstance(indices, NativeArray)) or not (
            len(pieces) and data.layout.chunk == indices.layout.chunk and kernels_cast(data.dtype, data.dtype)
        ):
            return [(part, pieces.part(part), None) for part in split_evenly(pieces.length, n_jobs)]
        (gap, stretch), (other_gap, other_stretch) = data.tuning(), indices.tuning()
        whole = any(one.layout.codecs.whole or one.layout.codecs.differences for one in (data, indices))
        stretch = (max if whole else min)(stretch, other_stretch)
        reads = plan_reads(pieces, chunk=data.layout.chunk, gap=max(gap, other_gap), stretch=stretch)
        data.count(pieces, reads)
        indices.count(pieces, reads)
        values, columns = data.locate(reads), indices.locate(reads)
        shares: list[tuple[slice, Pieces, Share | None]] = []
        for part in split_evenly(pieces.length, max(values.n_jobs(n_jobs), columns.n_jobs(n_jobs))):
            some = pieces.part(part)
            stop = int(some.start[-1] + some.length[-1])
            which, stretches = reads.between(int(some.start[0]), stop, part.start)
            shares.append((part, some, Share(stretches, values.part(which), columns.part(which))))
        return shares

    def _job(
        self, pieces: Pieces, share: Share | None, kernel: Kernel, consume: Consume, arguments: tuple[Any, ...]
    ) -> Job:
        if share is None:
            return partial(self._read_then_consume, pieces, consume, arguments)
        return partial(self._read_together, share, pieces, kernel, arguments)

    def _read_together(self, share: Share, pieces: Pieces, kernel: Kernel, arguments: tuple[Any, ...]) -> int:
        from .._kernels.fetch import DONE

        data, indices, total = self._data, self._indices, 0
        assert isinstance(data, NativeArray)
        assert isinstance(indices, NativeArray)
        for some in share.reads.in_few_files(min(data.layout.per_file, indices.layout.per_file)):
            few = share.reads.part(some)
            with share.data.part(some).opened() as there, share.indices.part(some).opened() as other:
                inputs = (
                    data.kernel_input(few, pieces, there, stored=data.dtype, scratch="decoded"),
                    indices.kernel_input(few, pieces, other, stored=indices.dtype, scratch="decoded too"),
                )
                status, number, n_bytes = kernel(*inputs, few.fields, pieces.fields, *arguments)
            if status != DONE:
                array, read = (data, number) if number >= 0 else (indices, -1 - number)
                raise array.error(status, int(few.chunk[read]))
            total += n_bytes
        return total

    def _read_then_consume(self, pieces: Pieces, consume: Consume, arguments: tuple[Any, ...]) -> int:
        from .._kernels.scatter import kernels_cast

        data, indices = self._data, self._indices
        if isinstance(data, MemoryArray) and isinstance(indices, MemoryArray) and kernels_cast(data.dtype, data.dtype):
            self._check_columns(indices.flat, pieces.start, pieces.length)
            consume(data.flat, indices.flat, 0, len(data.flat), 0, pieces.fields, *arguments)
            return 0
        values, columns, start, n_bytes = self.read_rows(pieces)
        consume(values, columns, 0, len(values), 0, (start, pieces.length, pieces.dest), *arguments)
        return n_bytes

    def read_rows(self, pieces: Pieces) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Read rows on this thread, one after the other.

        Returns
        -------
        tuple
            Values and column numbers; where rows begin in them; the bytes read.
        """
        from .._kernels.scatter import kernels_cast

        data, indices = self._data, self._indices
        dtype = data.dtype if kernels_cast(data.dtype, data.dtype) else np.dtype(np.float32)  # for float16
        values, n_value_bytes = data.read(pieces.start, pieces.length, dtype)
        columns, n_column_bytes = indices.read(pieces.start, pieces.length, before=pieces.before)
        start = np.cumsum(pieces.length) - pieces.length
        self._check_columns(columns, start, pieces.length)
        return values, columns, start, n_value_bytes + n_column_bytes

    def _check_columns(self, indices: np.ndarray, start: np.ndarray, length: np.ndarray) -> None:
        """Raise if column numbers of rows, which become addresses, lie outside the matrix."""
        from .._kernels.csr import column_range

        smallest, largest = column_range(indices, start, length)
        if not 0 <= smallest <= largest < self._n_columns:
            raise CorruptDataError(
                f"Column numbers of {self._where} must lie in 0..{self._n_columns - 1}, got {smallest}..{largest}: "
                "damaged."
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
