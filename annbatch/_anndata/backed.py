"""AnnData objects that read from disk: a relative path may come to mean another store, and a file lead to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr

from .._arrays.dask import is_dask, stored_behind, zarr_behind
from .._arrays.hdf5_files import refuse_external_links
from .._format.metadata_files import anchor, is_relative
from ..errors import StoreError
from .frames import is_lazy, stored_frame


def anchor_backed(adata: Any) -> None:
    """Let an AnnData that reads from disk stay in the files and stores that it names now; others are ignored.

    Raises
    ------
    StoreError
        If its HDF5 file leads to other files; or if the working directory has changed since a zarr store was read
        lazily, as other arrays or names of rows tell.
    """
    file = getattr(adata, "file", None)
    if file is not None and file.is_open:
        refuse_external_links(file["/"])
    if not is_lazy(adata.obs):
        return
    arrays = [adata.X, *adata.layers.values(), *adata.obsm.values()]
    nodes = [node for array in arrays if is_dask(array) for node in zarr_behind(array)]
    if any(map(is_relative, nodes)):
        _check_names(adata)
    anchor(nodes)  # first, as columns read categories from their store
    for frame in (adata.obs, adata.var, *arrays):
        if is_lazy(frame):
            anchor(node for name in frame.columns for node in _nodes(frame.ds[name]))


def zarr_nodes(adata: Any) -> list[Any]:
    """Return the zarr arrays and groups that an AnnData reads when it is asked for values, as far as they are known."""
    parts = [adata.obs, adata.var, adata.X, *([] if adata.raw is None else [adata.raw.X])]
    for named in (adata.layers, adata.obsm, adata.obsp, adata.varm, adata.varp):
        parts += named.values()
    found: list[Any] = []
    for part in parts:
        if is_lazy(part):
            found += (node for name in part.columns for node in _nodes(part.ds[name]))
        else:
            found += zarr_behind(part) if is_dask(part) else [getattr(part, "group", part)]
    return [node for node in found if isinstance(node, zarr.Array | zarr.Group)]


def _nodes(column: Any) -> list[Any]:
    """Return the zarr elements that a column reads; of concatenated categories, the first, or none."""
    if column.chunks is not None:
        return [column.attrs.get("base_path_or_zarr_group"), *zarr_behind(column.data)]
    return [column.attrs.get("base_path_or_zarr_group")]


def _check_names(adata: Any) -> None:
    x = stored_behind(adata.X) if is_dask(adata.X) else None
    if x is None:  # nothing is known of the order of rows
        return
    parent = x.path.rpartition("/")[0]
    try:
        obs = zarr.open_group(x.store, path=f"{parent}/obs".lstrip("/"), mode="r")
    except FileNotFoundError:
        return
    if not np.array_equal(stored_frame(obs).read_names(), np.asarray(adata.obs.true_index)):
        raise StoreError(
            f"{x.store.root} must have the names of rows that the lazily read AnnData has, got others: open it by its "
            "absolute path if the working directory has changed since, or if you renamed them."
        )
