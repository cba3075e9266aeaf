"""The first pass: every row of every input, once, in the order in which it lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._conform import Conformed
from ._hands import hands
from ._names import append_suffixes
from ._rows import DenseRows
from ._schema import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._job import Job, Statistics
    from ._memory import RowMemory
    from ._rows import Block


def read_rows(
    job: Job, statistics: Statistics, start: int, stop: int, block_bytes: int, memory: RowMemory
) -> Iterator[tuple[int, Block]]:
    """Yield rows ``start:stop`` of all inputs as blocks of the collection's rows.

    Parameters
    ----------
    job
        Says what the inputs are.
    statistics
        Narrows the rows, and counts them.
    start, stop
        Numbers of rows, counted through all inputs.
    block_bytes
        How much to read at a time, as it is stored.
    memory
        Lends the rows' memory.

    Yields
    ------
    int
        The number of the block's first row.
    Block
        Its rows.
    """
    survey = job.survey
    first = 0
    with hands("read", memory) as reading:
        for source, described in zip(survey.sources, survey.inputs, strict=True):
            begin, end = max(start, first), min(stop, first + described.n_obs)
            if begin < end:
                step = max(1, int(block_bytes * described.n_obs / max(1, described.nbytes)))
                with job.open_source(source) as found:
                    conformed = Conformed(found, survey.schema, statistics.narrowing, reading)
                    for a in range(begin, end, step):
                        b = min(a + step, end)
                        block = conformed.read(a - first, b - first)
                        statistics.count(block)
                        if survey.suffixes is not None:
                            names = block[NAMES]
                            assert isinstance(names, DenseRows)
                            block[NAMES] = DenseRows(append_suffixes(names.values, survey.suffixes[a:b]))
                        yield a, block
            first += described.n_obs
