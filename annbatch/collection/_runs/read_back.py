"""A collection read back into memory: annotations of its rows, and whole datasets in the dtypes of the inputs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from ..._anndata.columns import is_masked, read_element
from ..._anndata.frames import stored_frame
from ..._anndata.joined_column import unite_categories
from ..._arguments import as_names, unknown_names, whole
from ..._arrays.values import first_rounded
from ..._format.attributes import original_dtype, where
from ...errors import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import zarr
    from anndata import AnnData

T = TypeVar("T")


def table_in(group: Any, name: str) -> Any:
    """Return the stored table of a dataset."""
    with reading(where(group)):
        return group[name]


def read_dataset(group: zarr.Group) -> AnnData:
    """Return a dataset in memory; values that were narrowed for storage have the dtype of the inputs again."""
    from anndata import AnnData

    from .._inputs.open import has_raw

    axes = ("layers", "obsm", "obsp", "varm", "varp", "uns")
    parts = {key: dict(read_element(group[key])) for key in axes if key in group}
    x = read_element(group["X"]) if "X" in group else None
    adata = AnnData(x, obs=read_element(group["obs"]), var=read_element(group["var"]), **parts)
    with reading(where(group)):
        if has_raw(group):
            adata.raw = _read_raw(group["raw"], adata.obs)
        if x is not None:
            adata.X = _widened(x, group["X"])
        for key in ("layers", "obsm"):
            for name, value in list(parts.get(key, {}).items()):
                if name is None:  # since anndata 0.13, X is among the layers too
                    continue
                getattr(adata, key)[name] = _widened(value, group[f"{key}/{name}"])
    return adata


def _read_raw(raw: Any, obs: pd.DataFrame) -> AnnData:
    """Return a stored ``raw``; before anndata 0.8 it was a group without an encoding."""
    from anndata import AnnData

    x, varm = _widened(read_element(raw["X"]), raw["X"]), dict(read_element(raw["varm"])) if "varm" in raw else {}
    return AnnData(x, obs=obs[[]], var=read_element(raw["var"]), varm=varm)


def _widened(value: Any, stored: Any) -> Any:
    if getattr(getattr(value, "dtype", None), "kind", "") not in tuple("biufc"):  # data frames, and records
        return value
    widened = value.astype(original_dtype(stored.attrs, value.dtype), copy=False)
    if hasattr(widened, "indices"):  # SciPy's own type: it warns of the unsigned ones that are stored
        widened.indices = widened.indices.astype(np.int32 if max(widened.shape) < 2**31 else np.int64, copy=False)
        widened.indptr = widened.indptr.astype(np.int32 if widened.nnz < 2**31 else np.int64, copy=False)
    return widened


def read_obs(table: Any, columns: list[str] | None) -> pd.DataFrame:
    """Return the chosen columns of a stored data frame; unknown ones are left out."""
    frame = stored_frame(table)
    return frame.read(None if columns is None else [name for name in columns if name in frame.columns])


def with_united_categories(frames: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Give categorical columns the same categories in all frames: datasets that were added later may have more."""
    for name in frames[0]:
        dtypes: list[Any] = [frame[name].dtype for frame in frames if name in frame]
        if not all(isinstance(dtype, pd.CategoricalDtype) for dtype in dtypes) or all(d == dtypes[0] for d in dtypes):
            continue
        united = unite_categories(
            [dtype.categories for dtype in dtypes], ordered=all(dtype.ordered for dtype in dtypes)
        )
        for frame in frames:
            if united is not None and name in frame:
                frame[name] = frame[name].astype(united)
    return frames


def with_exact_integers(joined: pd.DataFrame, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return frames that pandas joined, with objects in columns where it rounded integers to floats."""
    for name, dtype in joined.dtypes.items():
        number: Any = dtype.numpy_dtype if is_masked(dtype) else dtype
        if getattr(number, "kind", "") == "f" and any(name in frame and _rounds(frame[name]) for frame in frames):
            columns = [frame[name] if name in frame else pd.Series(np.nan, frame.index) for frame in frames]
            joined[name] = np.concatenate([column.astype(object).array for column in columns])
    return joined


def _rounds(column: pd.Series[Any]) -> bool:
    """Return whether a column has integers, maybe as categories, that floats do not hold."""
    values: Any = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna()
    if is_masked(values.dtype):
        values = values.astype(values.dtype.numpy_dtype)
    return isinstance(values.dtype, np.dtype) and first_rounded(np.asarray(values), np.dtype("f8")) is not None


class ReadsBack:
    """The part of a collection that reads annotations and datasets into memory."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[zarr.Group]: ...

        def _tables(self, name: str, read: Callable[[Any], T]) -> Iterator[T]: ...

    def obs(self, columns: str | list[str] | None = None) -> pd.DataFrame:
        """Return ``obs`` of all datasets, in the order of the collection.

        Parameters
        ----------
        columns
            Columns to read, or one; all by default. What a dataset lacks is missing in its rows.

        Returns
        -------
        pandas.DataFrame
            Annotations of the rows, indexed by their names. Categorical columns stay categorical; integers that
            floats of another dataset would round are objects.

        Raises
        ------
        KeyError
            If no dataset has a column of that name.

        Examples
        --------
        >>> import anndata, numpy, pandas
        >>> from annbatch import DatasetCollection
        >>> names = [f"cell{i}" for i in range(4)]
        >>> cells = anndata.AnnData(
        ...     numpy.eye(4), obs=pandas.DataFrame({"dose": [0, 1, 2, 3]}, index=names)
        ... )
        >>> cells.write_h5ad("cells.h5ad")
        >>> collection = DatasetCollection("cells.zarr").add_adatas(
        ...     ["cells.h5ad"], shuffle=False, progress=False
        ... )
        >>> collection.obs(["dose"])["dose"].tolist()
        [0, 1, 2, 3]
        """
        names = None if columns is None else as_names(columns, "columns")
        frames = list(self._tables("obs", partial(read_obs, columns=names)))
        unknown = [name for name in names or () if frames and not any(name in frame for frame in frames)]
        if unknown:
            known = {name for frame in self._tables("obs", stored_frame) for name in frame.columns}
            raise unknown_names("columns", "columns of obs", unknown, known)
        if not frames:
            return pd.DataFrame()
        frames = with_united_categories(frames)
        return with_exact_integers(pd.concat(frames), frames)

    def to_adata(self, dataset: int = 0) -> AnnData:
        """Return a dataset of the collection in memory, in the dtypes of the inputs.

        Parameters
        ----------
        dataset
            Number of the dataset, below ``len(collection)``.
        """
        dataset, groups = whole(dataset, "dataset"), list(self)
        if not 0 <= dataset < len(groups):
            raise ValueError(f"`dataset` must be below {len(groups)}, the number of datasets, got {dataset}.")
        return read_dataset(groups[dataset])
