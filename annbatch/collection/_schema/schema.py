"""The schema of a collection: its elements, their dtypes, its rows; settled before any work is done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from ..._warn import warn
from ...errors import StoreError
from .._inputs.columns import ColumnInfo, unite
from .._inputs.matrices import MatrixInfo
from .._inputs.text import mean_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._inputs.annotations import Annotations
    from .._inputs.open import Input

NAMES = "obs_names"
SOURCE = "src_path"


@dataclass(frozen=True, slots=True)
class SparseSchema:
    """A CSR element.

    Attributes
    ----------
    dtype
        Dtype in which its values are returned.
    n_columns
        Number of columns.
    first_row
        Of a graph, whose columns are rows of the collection: number of the first row of the conversion; else None.
    """

    dtype: np.dtype
    n_columns: int
    first_row: int | None = None

    @property
    def index_dtype(self) -> np.dtype:
        """The smallest unsigned dtype that holds every column number."""
        return np.min_scalar_type(max(0, self.n_columns - 1))


@dataclass(frozen=True, slots=True)
class DenseSchema:
    """A dense element: the dtype in which its values are returned, and the shape of one row."""

    dtype: np.dtype
    row_shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A data frame: its columns, in order, and the name of its index, if any."""

    columns: dict[str, ColumnInfo]
    index_name: str | None = None


ElementSchema: TypeAlias = SparseSchema | DenseSchema | TableSchema


@dataclass(frozen=True, slots=True)
class InputInfo:
    """Description of one input.

    Attributes
    ----------
    name, n_obs
        As in :class:`Input`.
    elements
        Description of each matrix, or of the columns of each table, by path.
    annotations
        Annotations of its variables; shared between inputs that have the same.
    index_names
        As in :class:`Input`.
    name_bytes
        About how many bytes the name of a row takes in memory.
    graphs
        Paths of the elements whose columns are rows.
    """

    name: str
    n_obs: int
    elements: dict[str, MatrixInfo | dict[str, ColumnInfo]]
    annotations: Annotations
    index_names: dict[str, str]
    name_bytes: float
    graphs: frozenset[str] = frozenset()

    @property
    def text_bytes(self) -> float:
        """About how many bytes the strings of a row take, its name included."""
        return self.name_bytes + sum(column.text for _, _, column in self.strings())

    def strings(self) -> Iterator[tuple[str, str, ColumnInfo]]:
        """Yield path, name and description of each column of strings."""
        for path, elem in self.elements.items():
            for name, column in elem.items() if isinstance(elem, dict) else ():
                if column.kind == "string":
                    yield path, name, column

    @property
    def nbytes(self) -> float:
        """Bytes of its rows in memory, in the stored dtypes, without their names."""
        return sum(
            elem.nbytes
            if isinstance(elem, MatrixInfo)
            else self.n_obs * sum(column.row_bytes for column in elem.values())
            for elem in self.elements.values()
        )


@dataclass(frozen=True, slots=True)
class Schema:
    """Elements and variables of a collection.

    Attributes
    ----------
    annotations
        Annotations of its variables.
    elements
        Elements by path: ``X``, ``layers/...``, ``obsm/...``, ``raw/X``, ``obs``.
    with_source
        Whether ``obs`` has a column ``src_path`` that is filled in with the input's name.
    """

    annotations: Annotations
    elements: dict[str, ElementSchema]
    with_source: bool


def column_key(path: str, name: str) -> str:
    """Return the key of a table's column in a block."""
    return f"{path}\n{name}"


def describe(opened: Input, annotations: Annotations) -> InputInfo:
    """Describe an open input."""
    elements: dict[str, MatrixInfo | dict[str, ColumnInfo]] = {
        path: reader.info for path, reader in opened.matrices.items()
    }
    for path, table in opened.tables.items():
        elements[path] = {
            name: replace(reader.info, text=mean_bytes(reader.read, opened.n_obs))
            if reader.info.kind == "string"
            else reader.info
            for name, reader in table.items()
        }
    name_bytes = mean_bytes(opened.obs_names, opened.n_obs)
    graphs = frozenset(opened.graphs)
    return InputInfo(opened.name, opened.n_obs, elements, annotations, opened.index_names, name_bytes, graphs)


def settle(
    inputs: Sequence[InputInfo],
    annotations: Annotations,
    *,
    sources: Sequence[str] | None = None,
    rows: tuple[int, int] = (0, 0),
) -> Schema:
    """Return the schema that holds the rows of all inputs.

    Parameters
    ----------
    inputs
        At least one; those without rows only if none has rows.
    annotations
        Annotations of the collection's variables.
    sources
        Names of the inputs, for the column ``src_path`` of ``obs``; None for no such column.
    rows
        First row of the conversion, and number of rows of the collection behind its last, for graphs.

    Raises
    ------
    StoreError
        If an element is a matrix in one input and a table in another, its rows differ in shape, or only some have X.
    TypeError
        If a column holds strings in one input and numbers in another.

    Warns
    -----
    UserWarning
        If only some inputs have an element or a column of a table; rows of the others get missing values, zeros if it
        is sparse.
    """
    elements: dict[str, ElementSchema] = {}
    absent: list[str] = []
    paths = list(dict.fromkeys(path for one in inputs for path in one.elements))
    for path in paths:
        found = [one.elements.get(path) for one in inputs]
        matrices = [elem for elem in found if isinstance(elem, MatrixInfo)]
        if None in found:
            if path == "X":
                lacking = next(one.name for one in inputs if "X" not in one.elements)
                raise StoreError(f"X must be in all inputs or in none, but {lacking} has none.")
            absent.append(path)
        if not matrices:
            tables = [elem if isinstance(elem, dict) else {} for elem in found]
            names = [one.index_names[path] for one in inputs if path in one.index_names]
            elements[path] = _table(path, tables, [one.name for one in inputs], names, absent)
        elif len(matrices) + found.count(None) < len(found):
            raise StoreError(f"`{path}` must be a matrix in all inputs or a data frame in all, got both.")
        elif any(path in one.graphs for one in inputs):
            elements[path] = _graph(path, inputs, *rows)
        else:
            elements[path] = _matrix(path, matrices, None in found, annotations.names_for(path))
    if absent:
        warn(
            "Not in all inputs, so rows of the others get missing values (zeros if sparse): "
            f"{', '.join(absent)}. A `load_adata` can remove or fill them.",
        )
    if sources is None:
        return Schema(annotations, elements, False)
    obs = elements["obs"]
    assert isinstance(obs, TableSchema)
    columns = {name: column for name, column in obs.columns.items() if name != SOURCE}
    columns[SOURCE] = ColumnInfo("categorical", np.dtype(np.int32), pd.Index(list(dict.fromkeys(sources))))
    elements["obs"] = TableSchema(columns, None if obs.index_name in columns else obs.index_name)
    return Schema(annotations, elements, True)


def _matrix(path: str, matrices: list[MatrixInfo], missing: bool, names: pd.Index | None) -> ElementSchema:
    dtype = np.result_type(*(matrix.dtype for matrix in matrices))
    if names is None:
        shapes = {matrix.shape[1:] for matrix in matrices}
        if len(shapes) > 1:
            raise StoreError(f"Rows of `{path}` must have one shape in all inputs, got {sorted(shapes)}.")
        shape = shapes.pop()
    else:
        shape = (len(names), *matrices[0].shape[2:])
    if any(matrix.sparse for matrix in matrices):
        return SparseSchema(dtype, shape[0])
    return DenseSchema(np.result_type(dtype, np.float32) if missing else dtype, shape)


def _graph(path: str, inputs: Sequence[InputInfo], first: int, stop: int) -> SparseSchema:
    dtypes = []
    for one in inputs:
        found = one.elements.get(path)
        if isinstance(found, MatrixInfo):
            dtypes.append(found.dtype)
            if path not in one.graphs:
                raise StoreError(
                    f"`{path}` must come from `obsp` in all inputs, or from `obsm` in all, got one from `obsm` in "
                    f"{one.name}: rename it with `load_adata`."
                )
    return SparseSchema(np.result_type(*dtypes), stop, first)


def _table(
    path: str, tables: list[dict[str, ColumnInfo]], inputs: list[str], names: list[str], absent: list[str]
) -> TableSchema:
    columns = {}
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table.get(name) for table in tables]
        if None in found and path not in absent and not (path == "obs" and name == SOURCE):
            absent.append(f"{path}[{name!r}]")
        columns[name] = unite(found, f"Column {name!r} of `{path}`", inputs)
    # The name that all inputs with a named index share, unless a column has it, too.
    index_name = names[0] if len(set(names)) == 1 and names[0] not in columns else None
    return TableSchema(columns, index_name)
