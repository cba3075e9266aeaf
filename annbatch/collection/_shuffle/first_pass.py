"""The first pass: every row of every input, once, in input order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._blocks import DenseRows
from .._resources.threads import workers
from .._schema.conform import Conformed, check_same
from .._schema.names import append_suffixes
from .._schema.schema import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._blocks import Block
    from .._inputs.open import Input
    from .._resources.pages import RowMemory
    from .._schema.schema import InputInfo
    from .job import ShuffleJob, Statistics

WINDOW_BLOCKS = 3  # blocks' worth of a CSC matrix that is transposed at a time
_ROWS_AT_ONCE = 1 << 20  # maximum rows per block, as their sizes are looked at together


def read_rows(
    job: ShuffleJob, statistics: Statistics, start: int, stop: int, block_bytes: int, memory: RowMemory
) -> Iterator[tuple[int, Block]]:
    """Yield rows ``start:stop`` of all inputs, in blocks, as rows of the collection.

    Parameters
    ----------
    job
        The conversion.
    statistics
        Narrows the rows, and counts their values.
    start, stop
        Row numbers, counted through all inputs.
    block_bytes
        Bytes per block, as stored.
    memory
        Lends the rows' memory.

    Yields
    ------
    int
        Number of the block's first row.
    Block
        The rows.
    """
    survey = job.survey
    first = 0
    with workers("read", memory) as reading:
        for source, described in zip(survey.sources, survey.inputs, strict=True):
            begin, end = max(start, first), min(stop, first + described.n_obs)
            if begin < end:
                with job.open_source(source) as found:
                    check_same(found, described)
                    new = job.renumbering
                    numbers = None if new is None else new.of_input(first, described.n_obs)
                    conformed = Conformed(
                        found, described.annotations, survey.schema, statistics.narrowing, reading, numbers
                    )
                    text_bytes = described.text_bytes
                    while begin < end:
                        until = _end(found, described, text_bytes, (begin - first, end - first), block_bytes)
                        block, text_bytes = conformed.read(begin - first, until, block_bytes)
                        statistics.count(block)
                        names = block[NAMES]
                        assert isinstance(names, DenseRows)
                        if survey.suffixes is not None:
                            suffixes = survey.suffixes[begin : begin + len(names)]
                            block[NAMES] = DenseRows(append_suffixes(names.values, suffixes))
                        yield begin, block
                        begin += len(names)
            first += described.n_obs


def _end(found: Input, described: InputInfo, text_bytes: float, rows: tuple[int, int], block_bytes: int) -> int:
    """Return the end of a block that begins with the first of ``rows``: of ``block_bytes`` at most, or one row.

    Cut by the mean alone, a thousand cells with all genes among a million empty droplets would be one block. The sizes
    of strings are only known once they are read; ``text_bytes`` per row is what those before took.
    """
    start, stop = rows
    readers = (reader for path, reader in found.matrices.items() if path in described.elements)
    varying = [reader for reader in readers if reader.indptr is not None and reader.info.nnz]
    others = described.nbytes - sum(reader.info.nbytes for reader in varying)
    mean = text_bytes + others / max(1, described.n_obs) - described.text_bytes + described.name_bytes
    stop = min(stop, start + max(1, int(block_bytes / mean)), start + _ROWS_AT_ONCE)
    sizes = np.arange(1, stop - start + 1) * mean
    for reader in varying:
        assert reader.indptr is not None
        edges = reader.indptr[start : stop + 1]
        sizes += (edges[1:] - edges[0]) * (reader.info.nbytes / reader.info.nnz)
    return start + max(1, int(np.searchsorted(sizes, block_bytes, side="right")))
