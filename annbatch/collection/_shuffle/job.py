"""A conversion, planned: everything that its passes need to know, as plain data that any process can work from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._kernels.sort import ascend
from .._blocks import DenseRows, SparseRows
from .._inputs.narrow import Narrowing
from .._schema.schema import DenseSchema, SparseSchema, TableSchema

if TYPE_CHECKING:
    from .._array_format import Format
    from .._blocks import Block
    from .._inputs.open import Opener
    from .._schema.survey import Survey
    from .order import Order
    from .renumber import Renumbering


@dataclass(frozen=True, slots=True)
class ShuffleJob:
    """A conversion, planned.

    Attributes
    ----------
    survey
        Inputs, and schema of the collection.
    open_source
        Opens an input.
    order
        Order of the rows.
    rows_per_dataset
        Rows per dataset; the last may have fewer.
    form
        How arrays are chunked and compressed.
    narrow
        Whether to store numbers in the smallest integer type that holds them exactly.
    renumbering
        New numbers of the rows, if there are graphs.
    """

    survey: Survey
    open_source: Opener
    order: Order
    rows_per_dataset: int
    form: Format
    narrow: bool
    renumbering: Renumbering | None = None

    @property
    def n_datasets(self) -> int:
        """Number of datasets: at least one, even without rows."""
        return max(1, -(-self.survey.n_obs // self.rows_per_dataset))

    def rows_of(self, dataset: int) -> tuple[int, int]:
        """Return the positions of a dataset's rows, as start and stop."""
        start = dataset * self.rows_per_dataset
        return start, min(start + self.rows_per_dataset, self.survey.n_obs)

    @property
    def text_bytes(self) -> float:
        """About how many bytes the strings of all rows take."""
        return sum(one.n_obs * one.text_bytes for one in self.survey.inputs)

    @property
    def stored_bytes_per_row(self) -> float:
        """Maximum bytes per row between the passes: column numbers are narrowed by then, values perhaps not."""
        total = 0.0
        tables = [one for one in self.survey.schema.elements.values() if isinstance(one, TableSchema)]
        table_bytes = sum(column.row_bytes for table in tables for column in table.columns.values())
        for one in self.survey.inputs:
            for path, found in one.elements.items():
                element = self.survey.schema.elements.get(path)
                if isinstance(element, SparseSchema) and not isinstance(found, dict):
                    width = element.dtype.itemsize + 4
                    total += found.nbytes * (element.dtype.itemsize + element.index_dtype.itemsize) / width
                elif not isinstance(found, dict):
                    total += found.nbytes
            total += one.n_obs * (table_bytes + one.name_bytes + 8)  # the row's name and key
        return total / max(1, self.survey.n_obs)


@dataclass(slots=True)
class Statistics:
    """What the first pass learns of all rows.

    Attributes
    ----------
    narrowing
        The smallest dtype that holds the values of each matrix, by path.
    nnz
        Stored values of each sparse matrix.
    ascending
        Whether the column numbers of its rows ascend.
    text
        Characters of each column of strings, by its key in a block.
    """

    narrowing: dict[str, Narrowing]
    nnz: dict[str, int] = field(default_factory=dict)
    ascending: dict[str, bool] = field(default_factory=dict)
    text: dict[str, int] = field(default_factory=dict)

    @classmethod
    def start(cls, job: ShuffleJob) -> Statistics:
        """Return the statistics of no rows yet."""
        matrices = {
            path: element
            for path, element in job.survey.schema.elements.items()
            if isinstance(element, SparseSchema | DenseSchema)
        }
        state = None if job.narrow else (False, 0, 0)
        narrowing = {path: Narrowing(element.dtype, state) for path, element in matrices.items()}
        sparse = [path for path, element in matrices.items() if isinstance(element, SparseSchema)]
        return cls(narrowing, dict.fromkeys(sparse, 0), dict.fromkeys(sparse, True))

    def count(self, block: Block) -> None:
        """Count the stored values of a block, and its characters."""
        for key, rows in block.items():
            if isinstance(rows, DenseRows) and rows.values.dtype.hasobject:
                self.text[key] = self.text.get(key, 0) + sum(map(len, filter(None, rows.values.tolist())))
        for path in self.nnz:
            rows = block[path]
            assert isinstance(rows, SparseRows)
            self.nnz[path] += len(rows.data)
            if self.ascending[path] and not rows.ascending:
                self.ascending[path] = ascend(rows.indices, rows.indptr)

    @property
    def counted(self) -> dict[str, Any]:
        """These statistics as JSON, for :meth:`merge`."""
        narrowing = {path: one.state for path, one in self.narrowing.items()}
        return {"narrowing": narrowing, "nnz": self.nnz, "ascending": self.ascending, "text": self.text}

    def merge(self, counted: dict[str, Any]) -> None:
        """Add what :attr:`counted` says of other rows."""
        for path, state in counted["narrowing"].items():
            self.narrowing[path].merge(state)
        for path, nnz in counted["nnz"].items():
            self.nnz[path] += nnz
        for path, ascending in counted.get("ascending", {}).items():
            self.ascending[path] &= ascending
        for key, text in counted.get("text", {}).items():  # not counted by earlier versions
            self.text[key] = self.text.get(key, 0) + text

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        """Stored dtype of each matrix, by path."""
        return {path: narrowing.dtype for path, narrowing in self.narrowing.items()}

    def settle(self, block: Block) -> Block:
        """Return a block in the stored dtypes, which are known once all rows have been counted."""
        return {
            key: rows.astype(self.narrowing[key].dtype) if key in self.narrowing else rows
            for key, rows in block.items()
        }
