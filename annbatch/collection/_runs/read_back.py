"""A collection read back into memory: annotations of its rows, and whole datasets in the dtypes of the inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..._anndata.columns import read_element
from ..._anndata.frames import stored_frame
from ..._anndata.joined_column import unite_categories
from ..._format.attributes import original_dtype, where
from ...errors import reading

if TYPE_CHECKING:
    import zarr
    from anndata import AnnData


def table_in(group: Any, name: str) -> Any:
    """Return the stored table of a dataset."""
    with reading(where(group)):
        return group[name]


def read_dataset(group: zarr.Group) -> AnnData:
    """Return a dataset in memory; values that were narrowed for storage have the dtype of the inputs again."""
    from anndata import AnnData

    parts = {key: dict(read_element(group[key])) for key in ("layers", "obsm", "varm", "varp", "uns") if key in group}
    x = read_element(group["X"]) if "X" in group else None
    adata = AnnData(x, obs=read_element(group["obs"]), var=read_element(group["var"]), **parts)
    raw = read_element(group["raw"]) if "raw" in group else None
    with reading(where(group)):
        if raw is not None:
            raw.X = _widened(raw.X, group["raw/X"])
            adata.raw = raw
        if x is not None:
            adata.X = _widened(x, group["X"])
        for key in ("layers", "obsm"):
            for name, value in list(parts.get(key, {}).items()):
                if name is None:  # since anndata 0.13, X is among the layers too
                    continue
                getattr(adata, key)[name] = _widened(value, group[f"{key}/{name}"])
    return adata


def _widened(value: Any, stored: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return value
    widened = value.astype(original_dtype(stored.attrs, value.dtype), copy=False)
    if hasattr(widened, "indices"):  # SciPy's own type: it warns of the unsigned ones that are stored
        widened.indices = widened.indices.astype(np.int32 if max(widened.shape) < 2**31 else np.int64, copy=False)
        widened.indptr = widened.indptr.astype(np.int32 if widened.nnz < 2**31 else np.int64, copy=False)
    return widened


def read_obs(table: Any, columns: list[str] | None) -> pd.DataFrame:
    """Return the chosen columns of a stored data frame; unknown ones are left out."""
    frame = stored_frame(table)
    names = frame.columns if columns is None else [name for name in columns if name in frame.columns]
    rows = np.arange(frame.n_rows)
    read = {name: frame.column(name).take(rows) for name in names}
    return pd.DataFrame(read, index=pd.Index(frame.read_names(), name=frame.index_name))


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
