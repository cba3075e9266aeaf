"""Rows between the passes, held in memory or read straight from the input, and how they are handed on in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .._blocks import Stack
from .._inputs.matrices import MatrixInfo
from .._resources.pages import RowMemory
from .._schema.schema import NAMES, column_key
from .first_pass import WINDOW_BLOCKS, read_rows
from .job import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._blocks import Block
    from .job import ShuffleJob


_PIECE_ROWS = 1 << 16
_PIECE_BYTES = 16 << 20  # maximum bytes per piece: two pieces and the encoder's queue are in memory


class ShuffledRows(Protocol):
    """All rows, in their new order."""

    statistics: Statistics

    def rows(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the rows at positions ``start:stop`` of the order, in the stored dtypes."""


def gather_pieces(stack: Stack, rows: np.ndarray, memory: RowMemory, max_bytes: int) -> Iterator[Block]:
    """Yield rows of a stack in the given order, in pieces of at most ``max_bytes``, or of one row."""
    n_bytes = min(_PIECE_BYTES, max_bytes)
    mean = stack.dense_row_bytes
    for first in range(0, len(rows), _PIECE_ROWS):  # sizes of so many rows are looked at together
        some = rows[first : first + _PIECE_ROWS]
        ends = np.cumsum(mean + stack.sparse_row_bytes(some))
        start, before = 0, 0.0
        while start < len(ends):
            stop = max(start + 1, int(np.searchsorted(ends, before + n_bytes, side="right")))
            yield stack.gather(some[start:stop], memory)
            start, before = stop, ends[stop - 1]


class TooLargeError(Exception):
    """Rows take more memory than the estimate; ``bytes_per_row`` is what those read so far took."""

    def __init__(self, bytes_per_row: float) -> None:
        super().__init__(bytes_per_row)
        self.bytes_per_row = bytes_per_row


class InMemory:
    """All rows, held in memory.

    Raises
    ------
    TooLargeError
        If they take more than ``limit`` bytes, as strings may that are longer than those looked at before.
    """

    def __init__(self, job: ShuffleJob, block_bytes: int, limit: float, report: Callable[[int], None]) -> None:
        self.statistics, self._memory = Statistics.start(job), RowMemory(WINDOW_BLOCKS * block_bytes)
        self._piece_bytes = block_bytes
        blocks: list[Block] = []
        n_bytes = 0
        for first, block in read_rows(job, self.statistics, 0, job.survey.n_obs, block_bytes, self._memory):
            blocks.append(block)
            report(len(block[NAMES]))
            n_bytes += sum(rows.nbytes for rows in block.values())
            if n_bytes > limit:
                raise TooLargeError(n_bytes / (first + len(block[NAMES])))
        for i, block in enumerate(blocks):
            blocks[i] = self.statistics.settle(block)
        n_obs = job.survey.n_obs
        self._stack = Stack(blocks)
        self._ranked = job.order.arrange(job.order.keys(0, n_obs), np.arange(n_obs))

    def rows(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the rows at positions ``start:stop`` of the order."""
        if start < stop:
            yield from gather_pieces(self._stack, self._ranked[start:stop], self._memory, self._piece_bytes)


class Streamed:
    """All rows in input order, read from the inputs when they are requested; nothing is narrowed."""

    def __init__(self, job: ShuffleJob) -> None:
        self._job = job
        self.statistics = Statistics.start(job)
        for path in self.statistics.nnz:
            found = [one.elements[path] for one in job.survey.inputs]
            self.statistics.nnz[path] = sum(one.nnz for one in found if isinstance(one, MatrixInfo))
        text = self.statistics.text
        for one in job.survey.inputs:
            means = {column_key(path, name): column.text for path, name, column in one.strings()}
            for key, mean in (means | {NAMES: one.name_bytes}).items():
                text[key] = text.get(key, 0) + int(mean * one.n_obs)

    def rows(self, start: int, stop: int) -> Iterator[Block]:
        """Yield rows ``start:stop``."""
        for _, block in read_rows(self._job, Statistics.start(self._job), start, stop, _PIECE_BYTES, RowMemory()):
            yield block
