"""The first bytes of Blosc chunks, which tell where their blocks lie: kept, as each selection of rows needs them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from .._kernels.blosc_header import HEADER, STORED
from .._runtime.fork import fork_safe_lock

if TYPE_CHECKING:
    from .._format.layout import ChunkLayout

_MOST_BYTES = 256 << 20
"""Bytes kept of an array: those of 250 million rows of sparse matrices that conversion wrote."""

_TABLE_BYTES = 4 << 20
"""Bytes of the heads that are kept, and given up, together."""

_LONGEST = 64 << 10
"""Bytes of the longest head that is kept: of a chunk of 16,000 blocks."""


class ChunkHeads:
    """Heads of the chunks of an array: header, and where each block begins. Thread-safe.

    Parameters
    ----------
    layout
        Layout of the array, whose chunks are Blosc's.
    block_bytes
        Bytes of a block, decoded, in its first chunk. Of chunks with smaller blocks the head is not complete.

    Attributes
    ----------
    nbytes
        Bytes per head.
    per_table
        Chunks whose heads are kept together.
    """

    def __init__(self, layout: ChunkLayout, block_bytes: int) -> None:
        self._chunk_bytes = layout.chunk * layout.dtype.itemsize
        self.nbytes = min(HEADER + 4 * -(-self._chunk_bytes // max(1, block_bytes)), _LONGEST)
        self.per_table = max(1, min(_TABLE_BYTES // self.nbytes, -(-layout.size // layout.chunk)))
        self._lock = fork_safe_lock()
        self._tables: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()  # least recently used first

    def table(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the heads of a table, ``(per_table, nbytes)`` uint8, and which are known, ``(per_table,)`` bool.

        Who reads others writes them there, and then that they are known.
        """
        with self._lock:
            if number not in self._tables:
                shape = self.per_table, self.nbytes
                self._tables[number] = np.zeros(shape, np.uint8), np.zeros(self.per_table, np.bool_)
            self._tables.move_to_end(number)
            while len(self._tables) > max(1, _MOST_BYTES // (self.per_table * self.nbytes)):
                self._tables.popitem(last=False)
            return self._tables[number]

    def blocks(
        self, heads: np.ndarray, nbytes: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which bytes of encoded chunks decode to the bytes ``low:high`` of the chunks: start and stop.

        Parameters
        ----------
        heads
            ``(n, nbytes)`` head of each chunk.
        nbytes
            ``(n,)`` bytes of each encoded chunk.
        low, high
            ``(n,)`` bytes of decoded chunks.

        Returns
        -------
        tuple of numpy.ndarray
            ``(n,)`` int64; 0 and 0 where the head does not tell, as it is damaged, or too short.
        """
        numbers = heads.view(np.int32)
        block, table = numbers[:, 2].astype(np.int64), numbers[:, HEADER // 4 :].astype(np.int64)
        known = (numbers[:, 1] == self._chunk_bytes) & (numbers[:, 3] == nbytes) & (block > 0)
        block = np.where(known, block, self._chunk_bytes)
        first, last, n_blocks = low // block, (high - 1) // block, -(-self._chunk_bytes // block)
        stored = (heads[:, 2] & STORED) != 0
        known &= stored | (n_blocks <= table.shape[1])
        number = np.arange(table.shape[1])
        inside = (number >= first[:, None]) & (number <= last[:, None])
        begin = np.where(inside, table, np.iinfo(np.int64).max).min(axis=1, initial=np.iinfo(np.int64).max)
        latest = np.where(inside, table, 0).max(axis=1, initial=0)[:, None]
        behind = (table > latest) & (number < n_blocks[:, None])  # blocks need not lie in their order
        end = np.where(behind, table, nbytes[:, None]).min(axis=1, initial=np.iinfo(np.int64).max)
        begin = np.where(stored, HEADER + first * block, begin)
        end = np.where(stored, np.minimum(nbytes, HEADER + (last + 1) * block), np.minimum(end, nbytes))
        known &= (begin >= HEADER) & (begin < end)
        return np.where(known, begin, 0), np.where(known, end, 0)
