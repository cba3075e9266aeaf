"""The two passes of a conversion: read every row once, then write every row once, in its new place."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from ._conform import Conformed
from ._names import append_suffixes
from ._narrow import Narrowing
from ._rows import DenseRows, Pick, SparseRows, gather
from ._schema import NAMES, DenseElement, SparseElement
from ._write import DatasetWriter, Format, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._inputs import Opener
    from ._order import Order
    from ._rows import Block
    from ._survey import Survey

_BLOCK_BYTES = 64 << 20  # what is read at a time, as stored
_PIECE_BYTES = 16 << 20  # what is put in order at a time, as it will be stored


def n_threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class Statistics:
    """What the first pass finds out about the elements: their narrowing and the number of stored values."""

    narrowing: dict[str, Narrowing]
    nnz: dict[str, int]

    @classmethod
    def start(cls, survey: Survey, narrow: bool) -> Statistics:
        """Return the statistics of no rows."""
        matrices = {
            path: element
            for path, element in survey.schema.elements.items()
            if isinstance(element, SparseElement | DenseElement)
        }
        exact = {
            path: Narrowing(element.dtype, None if narrow else (False, 0, 0)) for path, element in matrices.items()
        }
        return cls(exact, {path: 0 for path, element in matrices.items() if isinstance(element, SparseElement)})

    def narrow(self, block: Block) -> Block:
        """Return the block with narrowed matrices, and count it."""
        out = dict(block)
        for path, narrowing in self.narrowing.items():
            rows = block[path]
            if isinstance(rows, SparseRows):
                self.nnz[path] += len(rows.data)
                out[path] = SparseRows(narrowing.narrow(rows.data), rows.indices, rows.indptr)
            else:
                out[path] = DenseRows(narrowing.narrow(rows.values))
        return out

    @property
    def stored(self) -> dict[str, np.dtype]:
        """The dtype in which each matrix is stored, by path."""
        return {path: narrowing.dtype for path, narrowing in self.narrowing.items()}

    def settle(self, block: Block) -> Block:
        """Return the block in the dtypes in which it is stored, known once all rows have been counted."""
        return {
            key: rows.astype(self.narrowing[key].dtype) if key in self.narrowing else rows
            for key, rows in block.items()
        }


def read_blocks(survey: Survey, open_source: Opener, block_bytes: int) -> Iterator[tuple[int, Block]]:
    """Yield every row of every input as rows of the collection: the number of a block's first row, and the block."""
    first = 0
    for source, described in zip(survey.sources, survey.inputs, strict=True):
        step = max(1, min(described.n_obs, int(block_bytes / max(1.0, described.nbytes / max(1, described.n_obs)))))
        with open_source(source) as found:
            conformed = Conformed(found, survey.schema)
            for start in range(0, described.n_obs, step):
                stop = min(start + step, described.n_obs)
                block = conformed.read(start, stop)
                if survey.suffixes is not None:
                    names = block[NAMES]
                    assert isinstance(names, DenseRows)
                    numbers = survey.suffixes[first + start : first + stop]
                    block[NAMES] = DenseRows(append_suffixes(names.values, numbers))
                yield first + start, block
        first += described.n_obs


def convert(
    survey: Survey,
    open_source: Opener,
    order: Order,
    rows_per_dataset: int,
    form: Format,
    narrow: bool,
    place: Callable[[int, ThreadPoolExecutor], Place],
    finish: Callable[[int, Place, int], None],
    progress: bool,
) -> Statistics:
    """Write all rows of the inputs, in order, as datasets.

    Parameters
    ----------
    survey
        The inputs.
    open_source
        Opens one of them.
    order
        Where rows go.
    rows_per_dataset
        Rows of each dataset but the last.
    form
        How arrays are cut and compressed.
    narrow
        Whether to store numbers in the smallest type that holds them exactly.
    place
        Returns where the dataset of this number goes.
    finish
        Called with number, place and rows of a dataset that is complete.
    progress
        Whether to show a bar.
    """
    statistics = Statistics.start(survey, narrow)
    blocks: list[Block] = []
    firsts: list[int] = []
    with tqdm(total=survey.n_obs, desc="Reading", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for first, block in read_blocks(survey, open_source, _BLOCK_BYTES):
            blocks.append(statistics.narrow(block))
            firsts.append(first)
            bar.update(len(block[NAMES]))
    blocks = [statistics.settle(block) for block in blocks]
    n_obs = survey.n_obs
    rows = np.arange(n_obs)
    ranked = order.arrange(order.keys(0, n_obs), rows)
    nnz_per_row = {path: nnz / max(1, n_obs) for path, nnz in statistics.nnz.items()}
    nbytes = sum(rows.nbytes for block in blocks for rows in block.values())
    piece = max(1, int(_PIECE_BYTES / max(1.0, nbytes / max(1, n_obs))))
    edges = np.array([*firsts, n_obs])
    with (
        tqdm(total=n_obs, desc="Writing", unit=" rows", unit_scale=True, disable=not progress) as bar,
        ThreadPoolExecutor(n_threads(), thread_name_prefix="annbatch-encode") as pool,
    ):
        for number, start in enumerate(range(0, max(1, n_obs), rows_per_dataset)):
            to = place(number, pool)
            writer = DatasetWriter(to, survey.schema, statistics.stored, nnz_per_row, form)
            stop = min(start + rows_per_dataset, n_obs)
            for a in range(start, stop, piece):
                wanted = ranked[a : min(a + piece, stop)]
                block_of = np.searchsorted(edges, wanted, side="right") - 1
                writer.append(gather(blocks, Pick(block_of, wanted - edges[block_of])))
                bar.update(len(wanted))
            writer.close()
            finish(number, to, stop - start)
    return statistics
