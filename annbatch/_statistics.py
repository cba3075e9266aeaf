"""Statistics of a whole collection in one pass: what highly variable genes and quality control need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._loading.measure import measure
from .errors import MissingCollectionError, NotACollectionError
from .loader import Loader
from .types import Statistics

if TYPE_CHECKING:
    from anndata import AnnData

    from .collection import DatasetCollection
    from .samplers._row_set import RowsLike


def statistics(
    data: DatasetCollection | Loader | AnnData | str | os.PathLike[str],
    *,
    key: str = "X",
    rows: RowsLike | None = None,
    ddof: int = 1,
) -> Statistics:
    """Return mean, variance, total and number of non-zeros per column, and total and non-zeros per row, in one pass.

    Rows are read in stored order, and added up on the reading threads, about as fast as one epoch is read.

    Parameters
    ----------
    data
        Collection, AnnData object, or the path or URL of one; or a :class:`~annbatch.Loader`, with its columns
        (``var_names``, ``var_join``), its ``transform`` and the rows that its sampler may choose, each once.
    key
        Matrix to measure, such as ``"layers/counts"`` or ``"obsm/X_pca"``; of a loader, one of its ``keys``.
    rows
        Rows to measure instead of all, or of those of the loader: a slice, a boolean mask, row numbers or a
        :class:`~annbatch.samplers.RowSet`.
    ddof
        What is subtracted from the number of rows in the divisor of the variance: 1, as in scanpy, or 0, the default of
        NumPy.

    Returns
    -------
    annbatch.types.Statistics
        Two data frames. Sums are in float64: exact for integers below 2**53. Variances are worked out from deviations,
        so that large values that hardly differ lose no digits.

    Raises
    ------
    KeyError
        If there is no such matrix.
    TypeError
        If it does not hold real numbers, or ``data`` is something else.
    ValueError
        If its rows have more than one dimension, or there are none; or there is no such row.

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
    """
    if not isinstance(key, str):
        raise TypeError(f"`key` must be the key of one matrix, such as 'X', got {key!r}.")
    if not isinstance(ddof, int) or ddof < 0:
        raise ValueError(f"`ddof` must be an integer that is not negative, got {ddof!r}.")
    loader = data if isinstance(data, Loader) else _loader_of(data, key)
    try:
        return _measured(loader, key, loader.batch_sampler.mask if rows is None else rows, ddof)
    finally:
        if loader is not data:
            loader.close()


def _loader_of(data: Any, key: str) -> Loader:
    if isinstance(data, str | os.PathLike):
        try:
            return Loader(data, keys=[key])
        except MissingCollectionError:
            raise
        except NotACollectionError:
            return Loader(keys=[key]).add_adata(data)
    if hasattr(data, "fingerprint"):
        return Loader(data, keys=[key])
    return Loader(keys=[key]).add_adata(data)


def _measured(loader: Loader, key: str, rows: RowsLike, ddof: int) -> Statistics:
    found = measure(loader, key, rows)
    n = len(found.rows)
    count, total, squares = found.columns.of_rows(n)
    variance = squares / (n - ddof) if n > ddof else np.full(len(squares), np.nan)
    columns = {"mean": total / n if n else total * np.nan, "variance": variance, "total": total}
    genes = pd.DataFrame(columns | {"n_nonzero": count.astype(np.int64)}, index=found.names)
    cells = pd.DataFrame(
        {"total": found.of_rows[:, 0], "n_nonzero": found.of_rows[:, 1].astype(np.int64)}, index=found.rows
    )
    return Statistics(key, genes, cells)
