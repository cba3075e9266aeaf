"""The collection as users see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anndata as ad
import numpy as np
import pandas as pd
import zarr
from anndata.io import read_elem, write_elem
from scipy import sparse
from zarr.codecs import BloscCodec

from ..errors import NotACollectionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENCODING = {"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"}


def _narrow(values: np.ndarray) -> np.ndarray:
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        if np.dtype(dtype).itemsize < values.dtype.itemsize:
            with np.errstate(invalid="ignore"):
                narrow = values.astype(dtype)
            if narrow.astype(values.dtype).tobytes() == values.tobytes():
                return narrow
    return values


def _write_array(group: zarr.Group, name: str, values: np.ndarray, chunk: int, layout: str) -> zarr.Array:
    chunk = max(1, min(chunk, len(values)))
    codec = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", blocksize=8192, typesize=values.dtype.itemsize)
    tail = values.shape[1:]
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk, *tail),
        shards=(chunk * max(1, min(1024, -(-len(values) // chunk))), *tail),
        compressors=codec if layout == "compact" else None,
    )
    if values.size:
        array[...] = values
    return array


def _write(group: zarr.Group, adata: ad.AnnData, n_obs_per_chunk: int, layout: str) -> None:
    write_elem(group, "obs", adata.obs)
    write_elem(group, "var", adata.var)
    for key in ("uns", "varm", "obsp", "varp", "layers", "obsm"):
        write_elem(group, key, {})
    elements = {"X": adata.X} | {f"layers/{k}": v for k, v in adata.layers.items()}
    elements |= {f"obsm/{k}": v for k, v in adata.obsm.items()}
    for path, value in elements.items():
        if isinstance(value, pd.DataFrame):
            write_elem(group, path, value)
        elif sparse.issparse(value):
            rows = value.tocsr()
            chunk = int(rows.nnz / max(1, rows.shape[0]) * n_obs_per_chunk)
            data = _narrow(rows.data)
            place = group.create_group(path)
            place.attrs.update(
                {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(rows.shape)}
                | ({"annbatch-dtype": rows.dtype.name} if data.dtype != rows.dtype else {})
            )
            _write_array(place, "data", data, chunk, layout)
            indices = rows.indices.astype(np.min_scalar_type(max(0, rows.shape[1] - 1)))
            _write_array(place, "indices", indices, chunk, layout)
            _write_array(place, "indptr", rows.indptr.astype(np.int64), 65536, "compact")
        else:
            values = np.asarray(value)
            narrow = _narrow(values)
            array = _write_array(group, path, narrow, n_obs_per_chunk, layout)
            array.attrs.update(
                {"encoding-type": "array", "encoding-version": "0.2.0"}
                | ({"annbatch-dtype": values.dtype.name} if narrow.dtype != values.dtype else {})
            )
    group.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})


def write_sharded(
    group: zarr.Group,
    adata: ad.AnnData,
    *,
    n_obs_per_chunk: int = 64,
    shard_size: int | str = "1GB",
    compressors: Any = None,
    key: str | None = None,
) -> None:
    """Write one AnnData object as a sharded zarr v3 group."""
    _write(group if key is None else group.create_group(key), adata, n_obs_per_chunk, "compact")


class DatasetCollection:
    """A shuffled collection of AnnData datasets in one zarr store."""

    def __init__(self, group: zarr.Group | str | Path, *, mode: str = "a", is_collection_h5ad: bool = False) -> None:
        self._group = group if isinstance(group, zarr.Group) else zarr.open_group(group, mode=mode)
        if mode == "r" and self.is_empty:
            raise NotACollectionError(f"{group} is not a collection.")

    @property
    def _keys(self) -> list[str]:
        keys = [key for key in self._group.keys() if key.startswith("dataset_")]  # noqa: SIM118
        return sorted(keys, key=lambda key: int(key.split("_")[1]))

    def __iter__(self) -> Iterator[zarr.Group]:
        for key in self._keys:
            yield self._group[key]

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been added yet."""
        return self._group.attrs.get("encoding-type") != ENCODING["encoding-type"]

    def obs(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the annotations of all rows."""
        frames = [read_elem(group["obs"]) for group in self]
        frame = pd.concat(frames)
        return frame if columns is None else frame[columns]

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return len(self.obs())

    @property
    def var_names(self) -> pd.Index:
        """Names of the columns."""
        return read_elem(next(iter(self))["var"]).index

    @property
    def n_vars(self) -> int:
        """Number of columns."""
        return len(self.var_names)

    def add_adatas(
        self,
        adata_paths: Iterable[Any],
        *,
        shuffle: bool = True,
        n_obs_per_chunk: int = 64,
        dataset_size: int | str = "20GB",
        rng: np.random.Generator | None = None,
        merge: Any = None,
        layout: str = "compact",
        **_: Any,
    ) -> Self:
        """Add the rows of h5ad files and zarr stores to the collection."""
        paths = list(adata_paths)
        parts = [ad.read_h5ad(path) if str(path).endswith(".h5ad") else ad.read_zarr(path) for path in paths]
        for part, path in zip(parts, paths, strict=True):
            part.obs["src_path"] = pd.Categorical([str(path)] * part.n_obs, categories=[str(p) for p in paths])
        adata = parts[0] if len(parts) == 1 else ad.concat(parts, join="outer", merge=merge)
        adata.obs_names_make_unique()
        rng = np.random.default_rng() if rng is None else rng
        seed = int(rng.integers(2**63))
        order = np.random.default_rng(seed).permutation(adata.n_obs) if shuffle else np.arange(adata.n_obs)
        step = dataset_size if isinstance(dataset_size, int) else max(1, adata.n_obs)
        for number, start in enumerate(range(0, adata.n_obs, step)):
            with ad.settings.override(allow_write_nullable_strings=True):
                _write(
                    self._group.create_group(f"dataset_{number}"),
                    adata[order[start : start + step]].copy(),
                    n_obs_per_chunk,
                    layout,
                )
        self._group.attrs.update(ENCODING)
        return self
