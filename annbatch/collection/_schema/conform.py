"""Rows of one input, read as rows of the collection: its variables, categories and dtypes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from ...errors import StoreError, reading
from .._blocks import DenseRows, SparseRows
from .._inputs.columns import absent, convert
from .._inputs.matrices import StoredCsr, ascending, has_repeats, sparsify, without_repeats
from .._inputs.narrow import InexactError
from .._inputs.text import read_within
from .schema import NAMES, SOURCE, DenseSchema, SparseSchema, TableSchema, column_key
from .variables import columns_of

if TYPE_CHECKING:
    from .._blocks import Block, Rows
    from .._inputs.annotations import Annotations
    from .._inputs.columns import ColumnInfo
    from .._inputs.matrices import MatrixInfo
    from .._inputs.narrow import Narrowing
    from .._inputs.open import Input
    from .._resources.threads import Workers
    from .schema import InputInfo, Schema


def check_same(opened: Input, described: InputInfo) -> None:
    """Raise :class:`StoreError` if ``load_adata`` returned something else than when the inputs were surveyed."""
    if not opened.is_made:
        return
    different = [] if opened.n_obs == described.n_obs else ["rows"]
    if not opened.annotations().var.index.equals(described.annotations.var.index):
        different.append("variables")
    for path, known in described.elements.items():
        if isinstance(known, dict):
            found = opened.tables.get(path, {})
            different += (
                f"{path}[{name!r}]"
                for name, info in known.items()
                if name not in found or not _is_alike(found[name].info, info)
            )
        elif path not in opened.matrices or _form(opened.matrices[path].info) != _form(known):
            different.append(path)
    if different:
        raise StoreError(
            f"`load_adata` must return the same whenever it is called for {opened.name}, got other "
            f"{', '.join(different)} than before."
        )


def _is_alike(one: ColumnInfo, other: ColumnInfo) -> bool:
    same = (one.kind, one.dtype, one.ordered) == (other.kind, other.dtype, other.ordered)
    if not same or one.categories is None or other.categories is None:
        return same
    return one.categories.equals(other.categories)


def _form(matrix: MatrixInfo) -> tuple[bool, np.dtype, tuple[int, ...]]:
    return matrix.sparse, matrix.dtype, matrix.shape


class Conformed:
    """An open input, read as rows of the collection that ``schema`` describes.

    Parameters
    ----------
    opened
        The input.
    annotations
        Annotations of its variables.
    schema
        Schema of the collection.
    narrowing
        Narrowing of each matrix as it is read, by path.
    workers
        Threads that read.
    numbers
        Number in the collection of each row that a column of a graph stands for; None if there are no graphs.
    """

    def __init__(
        self,
        opened: Input,
        annotations: Annotations,
        schema: Schema,
        narrowing: dict[str, Narrowing],
        workers: Workers,
        numbers: np.ndarray | None = None,
    ) -> None:
        self._input, self._schema, self._narrowing, self._workers = opened, schema, narrowing, workers
        present = [path for path in opened.matrices if path in schema.elements]
        self._columns = {
            path: numbers if path in opened.graphs else columns_of(annotations, schema.annotations, path)
            for path in present
        }
        self._texts = {NAMES: opened.obs_names}
        for path, table in opened.tables.items():
            element = schema.elements.get(path)
            known = element.columns if isinstance(element, TableSchema) else {}
            self._texts |= {
                column_key(path, name): reader.read
                for name, reader in table.items()
                if name in known and reader.info.kind == "string" and not (name == SOURCE and schema.with_source)
            }

    def read(self, start: int, stop: int, text_bytes: float) -> tuple[Block, float]:
        """Return rows ``start:stop`` of every element, or the first of them whose strings take ``text_bytes``.

        Returns
        -------
        Block
            At least one row.
        float
            Bytes of the strings of a row.
        """
        # Matrices are read by native code, while Python reads the tables.
        matrices = {
            path: self._workers.coordinator.submit(self._matrix, path, element, start, stop)
            for path, element in self._schema.elements.items()
            if not isinstance(element, TableSchema) and path in self._input.matrices
        }
        texts: dict[str, np.ndarray] = {}
        used = 0
        for key, read in self._texts.items():  # first, as their sizes are not known before
            texts[key], size = read_within(read, start, stop, text_bytes - used)
            stop, used = start + len(texts[key]), used + size
        n_rows = stop - start
        block: Block = {NAMES: DenseRows(texts.pop(NAMES)[:n_rows])}
        for path, element in self._schema.elements.items():
            if isinstance(element, TableSchema):
                for name in element.columns:
                    text = texts.get(key := column_key(path, name))
                    values = self._column(path, name, element, start, stop) if text is None else text[:n_rows]
                    block[key] = DenseRows(values)
            elif path in matrices:
                continue
            elif isinstance(element, SparseSchema):
                block[path] = SparseRows(
                    np.empty(0, element.dtype), np.empty(0, element.index_dtype), np.zeros(n_rows + 1, np.int64)
                )
            else:
                missing = np.full((n_rows, *element.row_shape), np.nan, element.dtype)
                block[path] = DenseRows(self._narrowing[path].narrow(missing))
        block |= {path: future.result().part(0, n_rows) for path, future in matrices.items()}
        return block, used / max(1, n_rows)

    def _matrix(self, path: str, element: SparseSchema | DenseSchema, start: int, stop: int) -> Rows:
        with reading(f"`{path}` of {self._input.name}"):
            try:
                return self._narrowed(path, element, start, stop)
            except InexactError as error:
                raise self._inexact(f"`{path}`", error) from None

    def _inexact(self, where: str, error: InexactError) -> StoreError:
        return StoreError(f"{where} of {self._input.name} {error}: give all inputs one dtype with `load_adata`.")

    def _narrowed(self, path: str, element: SparseSchema | DenseSchema, start: int, stop: int) -> Rows:
        columns, reader, narrowing = self._columns[path], self._input.matrices[path], self._narrowing[path]
        if isinstance(reader, StoredCsr) and isinstance(element, SparseSchema) and columns is None:
            narrowed = reader.read_narrowed(start, stop, element.index_dtype, narrowing, self._workers)
            if ascending(narrowed, self._workers.pool):
                return replace(narrowed, ascending=True)
            if not has_repeats(narrowed, element.n_columns):
                return narrowed
        rows = _conform(reader.read(start, stop, self._workers), element, columns)
        if isinstance(rows, DenseRows):
            return DenseRows(narrowing.narrow(rows.values))
        assert isinstance(element, SparseSchema)
        is_ascending = ascending(rows, self._workers.pool)
        if not is_ascending and has_repeats(rows, element.n_columns):
            rows = without_repeats(rows, element.dtype)
        return SparseRows(narrowing.narrow(rows.data), rows.indices, rows.indptr, ascending=is_ascending)

    def _column(self, path: str, name: str, element: TableSchema, start: int, stop: int) -> np.ndarray:
        column = element.columns[name]
        reader = self._input.tables.get(path, {}).get(name)
        if path == "obs" and name == SOURCE and self._schema.with_source:
            assert column.categories is not None
            return np.full(stop - start, column.categories.get_loc(self._input.name), np.int32)
        if reader is None:
            return absent(stop - start, column)
        try:
            return convert(reader.read(start, stop), reader.info, column)
        except InexactError as error:
            raise self._inexact(f"Column {name!r} of `{path}`", error) from None


def _conform(rows: Rows, element: SparseSchema | DenseSchema, columns: np.ndarray | None) -> Rows:
    if isinstance(element, DenseSchema):
        assert isinstance(rows, DenseRows)
        if columns is None:
            return rows
        kept = columns >= 0
        values = np.zeros((len(rows), *element.row_shape), rows.values.dtype)
        values[:, columns[kept]] = rows.values[:, kept]
        return DenseRows(values)
    if isinstance(rows, DenseRows):
        rows = sparsify(rows)
    if element.first_row is not None:
        assert columns is not None
        rows = _sorted(SparseRows(rows.data, columns[rows.indices], rows.indptr), element)
    elif columns is not None:
        rows = _move_columns(rows, columns, element)
    return SparseRows(rows.data, rows.indices.astype(element.index_dtype, copy=False), rows.indptr)


def _move_columns(rows: SparseRows, columns: np.ndarray, element: SparseSchema) -> SparseRows:
    indices, data, indptr = columns[rows.indices], rows.data, rows.indptr
    kept = indices >= 0
    if not kept.all():
        before = np.zeros(len(kept) + 1, np.int64)
        np.cumsum(kept, out=before[1:])
        indices, data, indptr = indices[kept], data[kept], before[indptr]
    present = columns[columns >= 0]
    moved = SparseRows(data, indices, indptr)
    return _sorted(moved, element) if (np.diff(present) < 0).any() else moved  # rows stay sorted


def _sorted(rows: SparseRows, element: SparseSchema) -> SparseRows:
    """Return rows with ascending column numbers."""
    # Positions instead of values: SciPy does not support float16.
    shape = len(rows), element.n_columns
    positions = sparse.csr_matrix((np.arange(len(rows.data)), rows.indices, rows.indptr), shape=shape)
    positions.sort_indices()
    return SparseRows(rows.data[positions.data], positions.indices, rows.indptr)
