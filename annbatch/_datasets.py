"""What a loader reads from: matrices, their annotations, and the checks that they fit together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ._elements import (
    CsrElement,
    DenseElement,
    DenseSelectedElement,
    DensifiedElement,
    Element,
    SelectedElement,
    TransformedElement,
)
from ._obs import MemoryFrame, ObsFrame, ObsTable, StoredFrame
from ._sources import RowSource, open_rows
from ._sources.rows import CsrSource
from ._variables import JOINS, Variables, join_variables
from .transforms import NormalizeLog1p

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

    from ._elements.staged import Staging
    from .transforms import Transform


class Datasets:
    """The datasets of one loader, in the order in which they were added.

    Parameters
    ----------
    obs_columns
        Columns of ``obs`` to yield; None for all.
    var_names, var_join
        Columns of X to yield; see :func:`~annbatch._variables.join_variables`.
    dtype
        Of X's values in batches; None for what the data had.
    densify
        Whether a sparse X is made dense as it is decoded.
    transform
        Changes X's values; None for none.
    staging
        Makes a sparse X dense on a device; None: not so.
    """

    def __init__(
        self,
        *,
        obs_columns: list[str] | None,
        var_names: list[str] | None,
        var_join: str,
        dtype: np.dtype | None,
        densify: bool,
        transform: Transform | None,
        staging: Staging | None,
    ) -> None:
        if var_join not in JOINS:
            raise ValueError(f"`var_join` must be one of {', '.join(JOINS)}, got {var_join!r}.")
        self._obs_columns = obs_columns
        self._var_names = var_names
        self._var_join = var_join
        self._dtype = dtype
        self._densify = densify
        self._transform = transform
        self._staging = staging
        self._sources: list[RowSource] = []
        self._obs: list[ObsFrame | None] = []
        self._table: ObsTable | None = None
        self._first_type: type | None = None
        self._vars: list[pd.DataFrame | None] = []
        self._variables: Variables | None = None

    @property
    def count(self) -> int:
        """Number of datasets."""
        return len(self._sources)

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return sum(source.shape[0] for source in self._sources)

    @property
    def n_var(self) -> int:
        """Number of columns."""
        if not self._sources:
            raise ValueError("`n_var` is known once a dataset has been added; got none yet.")
        return self.variables.count

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of a batch."""
        return self.variables.var if self._sources else None

    @property
    def variables(self) -> Variables:
        """The columns of a batch, over all datasets."""
        if self._variables is None:
            widths = [source.shape[1] if len(source.shape) > 1 else 1 for source in self._sources]
            self._variables = join_variables(self._vars, widths, names=self._var_names, join=self._var_join)
        return self._variables

    @property
    def first_type(self) -> type:
        """Type of the first matrix that was added."""
        if self._first_type is None:
            raise ValueError("`dataset_type` is known once a dataset has been added; got none yet.")
        return self._first_type

    @property
    def starts(self) -> np.ndarray:
        """``(n_datasets + 1,)`` first global row of each dataset, and the total."""
        return np.concatenate([[0], np.cumsum([source.shape[0] for source in self._sources])]).astype(np.int64)

    def add(self, matrix: Any, obs: pd.DataFrame | None, var: pd.DataFrame | None) -> None:
        """Add a matrix with its annotations, after checking that they fit."""
        for name, frame in (("obs", obs), ("var", var)):
            if frame is not None and not isinstance(frame, pd.DataFrame):
                raise TypeError(f"`{name}` must be a pandas DataFrame or None, got {type(frame).__name__}.")
        source = open_rows(matrix)
        if obs is not None and len(obs) != source.shape[0]:
            raise ValueError(f"`obs` must have one row a row of the matrix ({source.shape[0]}), got {len(obs)}.")
        self._append(source, type(matrix), None if obs is None else MemoryFrame(obs), var)

    def add_adata(self, adata: AnnData) -> None:
        """Add an AnnData object's X, obs and var; obs without columns counts as none."""
        self.add(adata.X, adata.obs if len(adata.obs.columns) else None, adata.var)

    def add_group(self, group: Any) -> None:
        """Add the X, obs and var of a stored AnnData group; of obs nothing is read yet."""
        from anndata.io import read_elem

        if "X" not in group:
            raise ValueError(f"`X` must be in every dataset, got {group.name!r} without it.")
        obs = StoredFrame(group["obs"])
        self._append(open_rows(group["X"]), type(group["X"]), obs if obs.columns else None, read_elem(group["var"]))

    def _append(self, source: RowSource, kind: type, obs: ObsFrame | None, var: pd.DataFrame | None) -> None:
        if len(source.shape) > 1 and var is not None and len(var) != source.shape[1]:
            raise ValueError(f"`var` must have one row a column of the matrix ({source.shape[1]}), got {len(var)}.")
        if self._sources:
            self._check_alike(source, obs, var)
        if self._table is None or obs is not None:
            frames = [frame for frame in [*self._obs, obs] if frame is not None]
            self._table = ObsTable(frames, self._obs_columns) if frames else None
        if self._first_type is None:
            self._first_type = kind
        self._vars.append(var)
        self._variables = None
        self._sources.append(source)
        self._obs.append(obs)

    def _check_alike(self, source: RowSource, obs: ObsFrame | None, var: pd.DataFrame | None) -> None:
        first, number = self._sources[0], self.count
        if isinstance(source, CsrSource) != isinstance(first, CsrSource):
            raise ValueError(
                f"All datasets must be sparse or all dense: dataset 0 is {first.describe()}, "
                f"dataset {number} is {source.describe()}."
            )
        joined = self._var_join != "exact" and len(source.shape) == len(first.shape) == 2
        if source.shape[1:] != first.shape[1:] and not joined:
            raise ValueError(
                f"All datasets must have rows of one shape: dataset 0 has {first.shape[1:]}, "
                f"dataset {number} has {source.shape[1:]}; `var_join` joins different genes."
            )
        for name, had, has in (("obs", self._obs[0], obs), ("var", self._vars[0], var)):
            if (had is None) != (has is None):
                one, other = ("with", "without") if has is None else ("without", "with")
                raise ValueError(
                    f"`{name}` must be given for all datasets or for none: dataset 0 is {one}, {number} {other}."
                )
        if var is not None and self._vars[0] is not None and not joined:
            _check_same_var(self._vars[0], var, number)

    def matrix(self, capacity: Callable[[int], int] | None) -> Element:
        """Return X over all datasets.

        Parameters
        ----------
        capacity
            Elements that a sparse batch of so many non-zeros has room for; None for just those.

        Raises
        ------
        ValueError
            If what is asked for cannot be made of such data, or not in the dtype.
        """
        dtype = self._dtype
        if dtype is None:
            dtype = _common_dtype([source.dtype for source in self._sources])
        if self._transform is not None:
            made = self._transform.dtype(dtype)
            if self._dtype not in (None, made):
                raise ValueError(f"`dtype` must be {made}, which {self._transform!r} makes of it, got {dtype}.")
            dtype = made
        if self._staging is not None:
            sparse = tuple(source for source in self._sources if isinstance(source, CsrSource))
            staged = self._staging.element(sparse, self.variables, dtype, self._transform)
            if staged is not None:
                return staged
        element = self._untransformed(dtype, capacity)
        if self._transform is None:
            return element
        if isinstance(element, DensifiedElement) and isinstance(self._transform, NormalizeLog1p):
            return replace(element, target_sum=self._transform.target_sum)
        return TransformedElement(element, self._transform)

    def _untransformed(self, dtype: np.dtype, capacity: Callable[[int], int] | None) -> Element:
        from ._scatter import kernels_cast

        variables = self.variables
        sparse = tuple(source for source in self._sources if isinstance(source, CsrSource))
        dense = tuple(source for source in self._sources if not isinstance(source, CsrSource))
        if dense and variables.columns is not None:
            if len(dense[0].shape) != 2:
                raise ValueError(f"`var_names` and `var_join` need X of 2 dimensions, got {len(dense[0].shape)}.")
            return DenseSelectedElement(dense, variables.columns, variables.count, dtype)
        if dense:
            return DenseElement(dense, dense[0].shape[1:], dtype)
        # Kernels have no float16: it is made dense when a batch is handed over.
        if variables.columns is None and not (self._densify and kernels_cast(dtype, dtype)):
            return CsrElement(sparse, variables.count, dtype, capacity)
        if not kernels_cast(dtype, dtype):
            raise ValueError(f"`dtype` must be bool, integer, float32 or float64 to choose columns, got {dtype}.")
        if self._densify:
            columns = variables.columns or (np.empty(0, dtype=np.int32),) * len(sparse)
            return DensifiedElement(sparse, columns, variables.count, dtype)
        assert variables.columns is not None
        return SelectedElement(sparse, variables.columns, variables.count, dtype, capacity)

    def obs(self) -> ObsTable | None:
        """Return the annotations of all rows, or None."""
        return self._table

    def categories(self) -> dict[str, pd.Index]:
        """Return the categories of every categorical column."""
        if self._table is None:
            return {}
        dtypes = {name: self._table.column(name).dtype for name in self._table.columns}
        return {name: dtype.categories for name, dtype in dtypes.items() if dtype is not None}

    def describe(self) -> str:
        """Say what is loaded and how it is read."""
        if not self._sources:
            return "no datasets"
        kinds = list(dict.fromkeys(source.describe() for source in self._sources))
        shape = " x ".join(f"{n:,}" for n in (self.n_obs, *self._sources[0].shape[1:]))
        return f"{self.count} dataset{'s' if self.count > 1 else ''}, {shape}, {'; '.join(kinds)}"


def _common_dtype(dtypes: list[np.dtype]) -> np.dtype:
    dtype = np.result_type(*dtypes)
    if dtype.kind == "f" and all(one.kind in "biu" for one in dtypes):  # int64 beside uint64: NumPy would round
        names = sorted({str(one) for one in dtypes})
        raise ValueError(f"`dtype` must be given where datasets hold {' and '.join(names)}, which none holds exactly.")
    return dtype


def _check_same_var(first: pd.DataFrame, var: pd.DataFrame, number: int) -> None:
    if first.equals(var):
        return
    different = [f"{a!r} / {b!r}" for a, b in zip(first.index, var.index, strict=True) if a != b]
    what = (
        f"{len(different)} names differ: {', '.join(different[:5])}"
        if different
        else "the names agree, annotations differ"
    )
    raise ValueError(
        f"`var` must be the same in all datasets: between dataset 0 and dataset {number} {what}. "
        "`var_join` joins different genes while reading, `DatasetCollection.add_adatas` once and for all."
    )
