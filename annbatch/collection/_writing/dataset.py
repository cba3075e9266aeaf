"""One dataset of a collection: a valid AnnData group in zarr v3, written by rows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._format.attributes import COLUMNS_BEFORE, DTYPE_ATTRIBUTE, FIRST_ROW_ATTRIBUTE
from .._array_format import Format, codecs_for, write_annotations
from .._blocks import SparseRows
from .._resources.threads import ahead, workers
from .._schema.schema import NAMES, DenseSchema, SparseSchema, TableSchema, column_key
from .arrays import ArrayForm, LocalWriter, ZarrWriter, encoder
from .tables import TABLE_CHUNK, TableWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    import zarr

    from ..._format.checksums import Checksums
    from .._blocks import Block
    from .._resources.threads import Workers
    from .._shuffle.in_memory import ShuffledRows
    from .._shuffle.job import ShuffleJob, Statistics
    from .arrays import ArrayWriter


_INDEX_FORM = Format(TABLE_CHUNK, TABLE_CHUNK, "compact")  # `indptr` is compressed in every layout: it is read by range


_TABLES_BEHIND = 8  # blocks whose columns may wait to be written


@dataclass(frozen=True, slots=True)
class Target:
    """Where a dataset is written.

    Attributes
    ----------
    group
        An empty zarr v3 group.
    folder
        Folder of the group; None if it is in no local folder.
    checksums
        Gains size and checksums of each file that this package writes itself, by absolute path.
    others
        Further elements by path, written as they are.
    """

    group: zarr.Group
    folder: Path | None
    checksums: dict[str, tuple[int, Checksums]] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=lambda: {"obsp": {}})


class DatasetWriter:
    """Writes one dataset.

    Parameters
    ----------
    target
        Where to write.
    job
        The conversion: elements of the rows, how arrays are chunked and compressed.
    statistics
        Of all rows of the conversion; an inner chunk of a sparse matrix has ``n_obs_per_chunk`` rows of average length.
    encoding
        Threads that encode and write, and memory for encoded chunks.
    start, stop
        Positions of the dataset's rows among those of the job.
    """

    def __init__(
        self, target: Target, job: ShuffleJob, statistics: Statistics, encoding: Workers, start: int, stop: int
    ) -> None:
        n_rows = stop - start
        self._target, self._schema, self._form, self._encoding = target, job.survey.schema, job.form, encoding
        self._arrays: dict[str, ArrayWriter] = {}
        self._nnz: dict[str, int] = {}
        self._last: dict[str, int] = {}  # column number, where differences are stored
        self._tables: list[TableWriter] = []
        self._tables_written: deque[Future[None]] = deque()
        self._dtypes, self._n_rows, self._start = statistics.dtypes, n_rows, start
        schema, form, dtypes = self._schema, self._form, self._dtypes
        for key in ("layers", "obsm"):
            write_annotations(target.group, key, {})
        if schema.annotations.raw is not None:
            target.group.create_group("raw", attributes={"encoding-type": "raw", "encoding-version": "0.1.0"})
        for path, element in schema.elements.items():
            if isinstance(element, SparseSchema):
                target.group.create_group(path)
                mean = statistics.nnz[path] / max(1, job.survey.n_obs)
                chunk = max(1, round(mean * form.n_obs_per_chunk))
                differences = form.differences and statistics.ascending[path]
                if differences:
                    self._last[path] = 0
                    before = f"{path}/{COLUMNS_BEFORE}"
                    self._arrays[before] = self._array(before, element.index_dtype, (), TABLE_CHUNK, 64, _INDEX_FORM)
                for name, dtype in (("data", dtypes[path]), ("indices", element.index_dtype)):
                    per_shard = form.chunks_per_shard(mean * dtype.itemsize)
                    self._arrays[f"{path}/{name}"] = self._array(
                        f"{path}/{name}", dtype, (), chunk, per_shard, differences=differences and name == "indices"
                    )
                indptr = self._array(f"{path}/indptr", np.dtype(np.int64), (), TABLE_CHUNK, 64, _INDEX_FORM)
                indptr.append(np.zeros(1, np.int64))
                self._arrays[f"{path}/indptr"], self._nnz[path] = indptr, 0
            elif isinstance(element, DenseSchema):
                width = int(np.prod(element.row_shape, dtype=np.int64)) * dtypes[path].itemsize
                per_shard = form.chunks_per_shard(width)
                self._arrays[path] = self._array(path, dtypes[path], element.row_shape, form.n_obs_per_chunk, per_shard)
        # Encoding begins while anndata and zarr make the tables, which takes as long as encoding thousands of rows.
        self._tables_written.append(encoding.coordinator.submit(self._make_tables, statistics, job.survey.n_obs))

    def _make_tables(self, statistics: Statistics, n_obs: int) -> None:
        for path, element in self._schema.elements.items():
            if isinstance(element, TableSchema):
                text = [n for key, n in statistics.text.items() if key == NAMES or key.startswith(column_key(path, ""))]
                mean = max(text, default=0) / max(1, n_obs)
                self._tables.append(TableWriter(self._target.group, path, self._schema, self._n_rows, mean))

    def _array(
        self,
        path: str,
        dtype: np.dtype,
        tail: tuple[int, ...],
        chunk: int,
        per_shard: int,
        form: Format | None = None,
        *,
        differences: bool = False,
    ) -> ArrayWriter:
        target, form = self._target, form or self._form
        codecs = codecs_for(dtype, form.layout, form.compressors)
        # Column numbers gain little from the slower compression.
        high = not path.endswith(("/indices", "/indptr"))
        encode = encoder(codecs, high=high, memory=self._encoding.memory, differences=differences)
        array = ArrayForm(path, dtype, tail, chunk, per_shard, codecs, differences)
        if target.folder is None or encode is None:
            return ZarrWriter(target.group, array)
        return LocalWriter(target.group, target.folder, array, encode, self._encoding.pool, target.checksums)

    def append(self, block: Block) -> None:
        """Add rows at the end; the block's memory belongs to the writer until ``close``."""
        for key, rows in block.items():
            if isinstance(rows, SparseRows):
                self._arrays[f"{key}/data"].append(rows.data)
                self._arrays[f"{key}/indices"].append(rows.indices)
                self._arrays[f"{key}/indptr"].append(rows.indptr[1:] + self._nnz[key])
                self._nnz[key] += len(rows.data)
                if key in self._last:
                    self._append_before(key, rows)
            elif key in self._arrays:
                self._arrays[key].append(np.ascontiguousarray(rows.values))
        self._wait(_TABLES_BEHIND - 1)
        columns: Block = {key: rows for key, rows in block.items() if key not in self._arrays and key not in self._nnz}
        self._tables_written.append(self._encoding.coordinator.submit(self._append_to_tables, columns))

    def _append_to_tables(self, block: Block) -> None:
        """Add rows to the tables, while their matrices are encoded."""
        for table in self._tables:
            table.append(block)

    def _wait(self, most: int) -> None:
        """Wait until at most as many blocks are not in the tables yet."""
        while len(self._tables_written) > most:
            self._tables_written.popleft().result()

    def _append_before(self, key: str, rows: SparseRows) -> None:
        """Add the column number before each row."""
        at = rows.indptr[:-1] - 1
        before = np.full(len(rows), self._last[key], rows.indices.dtype)
        before[at >= 0] = rows.indices[at[at >= 0]]
        self._arrays[f"{key}/{COLUMNS_BEFORE}"].append(before)
        if len(rows.indices):
            self._last[key] = int(rows.indices[-1])

    def close(self) -> None:
        """Write the remaining rows; the group's encoding comes last."""
        group, schema = self._target.group, self._schema
        for array in self._arrays.values():
            array.finish()
        self._wait(0)
        for table in self._tables:
            table.close()
        for key in ("var", "varm", "varp", "uns"):
            write_annotations(group, key, getattr(schema.annotations, key))
        if schema.annotations.raw is not None:
            write_annotations(group, "raw/var", schema.annotations.raw.var)
            write_annotations(group, "raw/varm", schema.annotations.raw.varm)
        for key, element in self._target.others.items():
            write_annotations(group, key, element)
        arrays = {path: array.close() for path, array in self._arrays.items()}
        for path, element in schema.elements.items():
            if isinstance(element, SparseSchema):
                attributes: dict[str, Any] = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0"}
                attributes["shape"] = [self._n_rows, element.n_columns]
                if element.first_row is not None:
                    attributes[FIRST_ROW_ATTRIBUTE] = element.first_row + self._start
                group[path].update_attributes(attributes | self._narrowed(path, element))
            elif isinstance(element, DenseSchema):
                attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
                arrays[path].update_attributes(attributes | self._narrowed(path, element))
        group.update_attributes({"encoding-type": "anndata", "encoding-version": "0.1.0"})

    def _narrowed(self, path: str, element: SparseSchema | DenseSchema) -> dict[str, str]:
        return {DTYPE_ATTRIBUTE: element.dtype.name} if self._dtypes[path] != element.dtype else {}


def write_dataset(
    job: ShuffleJob, shuffled: ShuffledRows, number: int, target: Target, report: Callable[[int], None]
) -> None:
    """Write one dataset.

    Parameters
    ----------
    job
        The conversion.
    shuffled
        All rows in their new order.
    number
        Number of the dataset among those of this job.
    target
        Where to write.
    report
        Called with the number of rows written since the last call.
    """
    start, stop = job.rows_of(number)
    with workers("encode") as encoding:
        # The first rows are gathered while the dataset's arrays are made.
        made = encoding.coordinator.submit(DatasetWriter, target, job, shuffled.statistics, encoding, start, stop)
        for block in ahead(shuffled.rows(start, stop)):
            made.result().append(block)
            report(len(block[NAMES]))
        made.result().close()
