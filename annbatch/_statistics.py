"""Statistics of a whole collection in one pass: what highly variable genes and quality control need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._loading.measure import measure
from ._loading.row_groups import column_names
from ._sizes import parse_size
from .errors import MissingCollectionError, NotACollectionError
from .loader import Loader
from .types import Statistics

if TYPE_CHECKING:
    from anndata import AnnData

    from ._arrays.moments import Moments
    from ._loading.row_groups import GroupBy
    from .collection import DatasetCollection
    from .samplers._row_set import RowsLike


def statistics(
    data: DatasetCollection | Loader | AnnData | str | os.PathLike[str],
    groupby: GroupBy | None = None,
    *,
    key: str = "X",
    rows: RowsLike | None = None,
    ddof: int = 1,
    memory_limit: int | str = "4GB",
) -> Statistics:
    """Return mean, variance, total and number of non-zeros per column, and total and non-zeros per row, in one pass.

    With ``groupby``, those of the columns are also returned for each group of rows, as pseudobulk and marker genes need
    them. Rows are read in stored order, about as fast as one epoch.

    Parameters
    ----------
    data
        Collection, AnnData object, or the path or URL of one; or a :class:`~annbatch.Loader`, with its columns
        (``var_names``, ``var_join``), its ``transform`` and the rows that its sampler may choose, each once.
    groupby
        Column of ``obs`` whose categories are groups of rows, a list of columns whose combinations are, or an array
        with one label per row of the data. Rows without a label are in no group, with a warning that tells how many.
    key
        Matrix to measure, such as ``"layers/counts"`` or ``"obsm/X_pca"``; of a loader, one of its ``keys``.
    rows
        Rows to measure instead of all, or of those of the loader: a slice, a boolean mask, row numbers or a
        :class:`~annbatch.samplers.RowSet`.
    ddof
        What is subtracted from the number of rows in the divisor of the variance: 1, as in scanpy, or 0, the default of
        NumPy.
    memory_limit
        Bound on the memory of sums by group: 88 bytes per group and column.

    Returns
    -------
    annbatch.types.Statistics
        Two data frames, and with ``groupby`` two more. Sums are in float64: exact for integers below 2**53. Variances
        are worked out from deviations, so that large values that hardly differ lose no digits.

    Raises
    ------
    KeyError
        If there is no such matrix or column.
    TypeError
        If it does not hold real numbers, or ``data`` or ``groupby`` is something else.
    ValueError
        If its rows have more than one dimension, or there are none; if there is no such row, or none has a label; or if
        sums by group need more memory than ``memory_limit``.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader, statistics
    >>> loader = Loader().add_dataset(np.array([[1, 0], [3, 0], [5, 6]]))
    >>> statistics(loader).genes
       mean  variance  total  n_nonzero
    0   3.0       4.0    9.0          3
    1   2.0      12.0    6.0          1
    >>> statistics(loader, rows=slice(1, 3)).cells
       total  n_nonzero
    1    3.0          1
    2   11.0          2

    >>> found = statistics(loader, np.array(["a", "b", "a"]))
    >>> found.groups
       n_cells
    a        2
    b        1
    >>> found.genes_by_group["mean"]
         a    b
    0  3.0  3.0
    1  3.0  0.0
    """
    if not isinstance(key, str):
        raise TypeError(f"`key` must be the key of one matrix, such as 'X', got {key!r}.")
    if not isinstance(ddof, int) or ddof < 0:
        raise ValueError(f"`ddof` must be an integer that is not negative, got {ddof!r}.")
    columns = [] if groupby is None else column_names(groupby)
    limit = parse_size(memory_limit, name="memory_limit")
    loader = data if isinstance(data, Loader) else _loader_of(data, key, columns)
    try:
        return _measured(loader, key, groupby, loader.batch_sampler.mask if rows is None else rows, ddof, limit)
    finally:
        if loader is not data:
            loader.close()


def _loader_of(data: Any, key: str, columns: list[str]) -> Loader:
    keys = [key, "obs"] if columns else [key]
    if isinstance(data, str | os.PathLike):
        try:
            return Loader(data, keys=keys)
        except MissingCollectionError:
            raise
        except NotACollectionError:
            return Loader(keys=keys).add_adata(data)
    if hasattr(data, "fingerprint"):
        return Loader(data, keys=keys)
    return Loader(keys=keys).add_adata(data)


def _measured(
    loader: Loader, key: str, groupby: GroupBy | None, rows: RowsLike, ddof: int, memory_limit: int
) -> Statistics:
    found = measure(loader, key, rows, groupby, memory_limit=memory_limit)
    genes = pd.DataFrame(_of_columns(found.columns, len(found.rows), ddof), index=found.names)
    cells = pd.DataFrame(
        {"total": found.of_rows[:, 0], "n_nonzero": found.of_rows[:, 1].astype(np.int64)}, index=found.rows
    )
    if found.groups is None:
        return Statistics(key, genes, cells)
    names, n_cells = found.groups.names, found.groups.counts(found.rows)
    by_group = {name: np.empty((len(names), len(genes)), column.to_numpy().dtype) for name, column in genes.items()}
    for number, n_rows in enumerate(n_cells):
        for name, column in _of_columns(found.by_group.pop(0), int(n_rows), ddof).items():
            by_group[name][number] = column
    frames = {name: pd.DataFrame(table.T, index=found.names, columns=names) for name, table in by_group.items()}
    groups = pd.DataFrame({"n_cells": n_cells}, index=names)
    return Statistics(key, genes, cells, groups, pd.concat(frames, axis=1, names=["statistic"]))


def _of_columns(moments: Moments, n_rows: int, ddof: int) -> dict[str, np.ndarray]:
    count, total, squares = moments.of_rows(n_rows)
    variance = squares / (n_rows - ddof) if n_rows > ddof else np.full(len(squares), np.nan)
    mean = total / n_rows if n_rows else total * np.nan
    return {"mean": mean, "variance": variance, "total": total, "n_nonzero": count.astype(np.int64)}
