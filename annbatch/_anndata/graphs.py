"""Graphs of rows: in ``obsp``, or, in a dataset of a collection, in ``obsm``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .._arrays.dask import is_dask, stored_behind
from .._arrays.open import open_rows
from .._arrays.rows import CsrSource
from .._format.attributes import FIRST_ROW_ATTRIBUTE

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class RowGraph:
    """A graph of the rows of one dataset.

    Attributes
    ----------
    source
        Weights of a row's neighbours, which are the columns.
    first_row
        Number of the dataset's first row in its collection, whose rows the columns are; None: they are the dataset's.
    """

    source: CsrSource
    first_row: int | None

    @staticmethod
    def of(key: str, matrix: Any, rebind: Callable[[Any], Any]) -> RowGraph | None:
        """Open a matrix of ``obsp``, or of ``obsm``; None if that is no graph.

        Parameters
        ----------
        key
            Key of the matrix.
        matrix
            The matrix, in memory or stored.
        rebind
            Function that takes it, and returns what to read instead.

        Raises
        ------
        TypeError
            If it cannot be read by rows, is dense, or holds other than real numbers.
        """
        stored = stored_behind(matrix) if is_dask(matrix) else getattr(matrix, "group", matrix)
        first = dict(getattr(stored, "attrs", {})).get(FIRST_ROW_ATTRIBUTE)
        if first is None and key.startswith("obsm/"):
            return None
        source = open_rows(rebind(matrix), name=key)
        if not isinstance(source, CsrSource):
            raise TypeError(
                f"`{key}` must be a CSR matrix to be read as neighbors, got a dense array: "
                "`scipy.sparse.csr_matrix(matrix)` makes it sparse."
            )
        if source.dtype.kind not in "biuf":
            raise TypeError(f"`{key}` must hold real numbers to be read as neighbors, got {source.dtype}.")
        return RowGraph(source, None if first is None else int(first))
