"""One AnnData object, written in sharded arrays without shuffling."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, StorePath

from ..._anndata.backed import zarr_nodes
from ..._arguments import wrong_kind
from ..._format.attributes import UNFINISHED_ENCODING
from .._array_format import Format
from .._inputs.open import from_anndata
from .._schema.schema import describe, settle
from .._schema.survey import Survey
from .._shuffle.in_memory import Streamed
from .._shuffle.job import ShuffleJob
from .._shuffle.order import InputOrder
from .._writing.dataset import Target, write_dataset

if TYPE_CHECKING:
    from anndata import AnnData

    from .._array_format import Layout


def write_sharded(
    group: zarr.Group,
    adata: AnnData,
    *,
    n_obs_per_chunk: int = 64,
    shard_size: int | str = "1GB",
    compressors: Any | None = None,
    key: str | None = None,
    layout: Layout = "portable",
) -> None:
    """Write an AnnData object with sharded arrays. Rows keep their order, and values their dtypes.

    If the call is interrupted, ``Loader``, ``add_adatas`` and anndata refuse to read the group; the same call, made
    again, writes all of it.

    Parameters
    ----------
    group
        A zarr v3 group.
    adata
        An AnnData object: in memory, backed or lazily loaded.
    n_obs_per_chunk
        Rows per inner chunk; for sparse matrices, as many values as that many rows have on average.
    shard_size
        Rows per shard, or its uncompressed size.
    compressors
        zarr codecs instead of those of ``layout``.
    key
        Path in the group; by default the group itself, whose contents are deleted first.
    layout
        ``"compact"``, ``"portable"`` or ``"random_access"``, as in :meth:`DatasetCollection.add_adatas`.

    Raises
    ------
    ValueError
        If the AnnData reads lazily what the group holds: it would be deleted before it is read.
    """
    _check_kinds(group, adata, key)
    if group.metadata.zarr_format != 3:
        raise ValueError(f"`group` must be of zarr format 3, got {group.metadata.zarr_format}.")
    form = Format(n_obs_per_chunk, shard_size, layout, compressors)
    if isinstance(form.shard_size, int):  # whole chunks of the rows that there are, as in scverse annbatch
        chunk = form.n_obs_per_chunk
        form = replace(form, shard_size=min(form.shard_size, max(chunk, adata.n_obs // chunk * chunk)))
    found = from_anndata(adata, "`adata`", with_raw=True)
    annotations = found.annotations()
    described = describe(found, annotations)
    rows = Survey([found.name], [described], settle([described], annotations), None, len(annotations.var))
    to = StorePath(group.store, _path(group, key))
    _refuse_own(adata, to)
    into = _emptied(to)
    folder = Path(into.store.root) / into.path if isinstance(into.store, LocalStore) else None

    job = ShuffleJob(
        rows, lambda _: nullcontext(found), InputOrder(adata.n_obs), max(1, adata.n_obs), form, narrow=False
    )
    target = Target(into, folder, others={"obsp": dict(adata.obsp)})
    write_dataset(job, Streamed(job), 0, target, report=lambda _: None)


def _emptied(path: StorePath) -> zarr.Group:
    """Return an empty group that is marked as unfinished, from before anything in it is deleted."""
    marked = {"attributes": UNFINISHED_ENCODING, "zarr_format": 3, "node_type": "group"}
    sync((path / "zarr.json").set(default_buffer_prototype().buffer.from_bytes(json.dumps(marked).encode())))
    return zarr.create_group(
        path.store, path=path.path, overwrite=True, attributes=dict(UNFINISHED_ENCODING), zarr_format=3
    )


def _refuse_own(adata: AnnData, to: StorePath) -> None:
    """Raise ``ValueError`` if an AnnData reads lazily what emptying a group would delete."""
    store, path = _place(to)
    for node in zarr_nodes(adata):
        other, inside = _place(node.store_path)
        if store == other and (inside.is_relative_to(path) or path.is_relative_to(inside)):
            raise ValueError(
                f"`group` must not hold what `adata` reads lazily, got {node.store_path}: write into another group, or "
                "load it first, `adata.to_memory()`."
            )


def _place(of: StorePath) -> tuple[Any, PurePath]:
    """Return a store and the path in it; of a local one, the path on disk."""
    if isinstance(of.store, LocalStore):
        return LocalStore, Path(os.path.realpath(Path(of.store.root) / of.path))
    return of.store, PurePosixPath("/", of.path)


def _check_kinds(group: Any, adata: Any, key: Any) -> None:
    from anndata import AnnData

    if not isinstance(group, zarr.Group):
        advice = {"an AnnData object": "the group comes first", "a path": "open it, `zarr.open_group(path, mode='w')`"}
        raise wrong_kind("group", "a zarr group", group, advice)
    if not isinstance(adata, AnnData):
        advice = {"a path": "`anndata.read_h5ad(path)` reads it", "a MuData object": "write each modality into a group"}
        raise wrong_kind("adata", "an AnnData object", adata, advice)
    if not isinstance(key, str | None):
        raise wrong_kind("key", "the path of a group or None", key, {})


def _path(group: zarr.Group, key: str | None) -> str:
    return "/".join(part.strip("/") for part in (group.path, key or "") if part.strip("/"))
