"""The stores to read: given by the user, or made here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import zarr
from zarr.codecs import BloscCodec

from annbatch import DatasetCollection, write_sharded

from .cases import Contender
from .data import DENSE_ROWS, DENSE_WINDOWS, dense_blocks, write_cells
from .measure import measure_once
from .processes import Workers

LAYOUTS = ("compact", "portable", "random_access")
SCVERSE = "scverse"


@dataclass(slots=True)
class Stores:
    """Data to read.

    Attributes
    ----------
    sparse
        Path of each collection, by name: ``scverse`` (as scverse annbatch writes it), and of each layout.
    dense
        Paths of the arrays of each kind, as scverse annbatch writes it and as this package does.
    h5ad
        Files that the collections were made from, if any.
    scdl
        BioNeMo's memory maps of the same cells, if any.
    conversions
        Results of making each collection, as of :func:`~benchmarks.measure.measure_once`.
    """

    sparse: dict[str, Path] = field(default_factory=dict)
    dense: dict[str, dict[str, Path]] = field(default_factory=dict)
    h5ad: list[Path] = field(default_factory=list)
    scdl: Path | None = None
    conversions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def n_obs(self) -> int:
        """Rows of the collections."""
        return min(DatasetCollection(path, mode="r").n_obs for path in self.sparse.values())

    def obs_columns(self) -> list[str]:
        """Return the names of two columns of ``obs``, as many as training usually needs."""
        first: Any = next(iter(DatasetCollection(next(iter(self.sparse.values())), mode="r")))
        return [name for name in first["obs"].attrs["column-order"] if name != "src_path"][:2]

    def describe(self) -> dict[str, Any]:
        """Describe the stores; JSON-able, without paths."""
        sparse = {}
        for name, path in self.sparse.items():
            collection = DatasetCollection(path, mode="r")
            nnz = sum(int(group["X/data"].shape[0]) for group in collection)
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            sparse[name] = {"n_obs": collection.n_obs, "n_vars": collection.n_vars, "nnz": nnz, "bytes": size}
        dense = {}
        for kind, paths in self.dense.items():
            array = zarr.open_array(next(iter(paths.values())), mode="r")
            dense[kind] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        return {"sparse": sparse, "dense": dense}


def make_sparse(
    stores: Stores, folder: Path, workers: Workers, peers: set[str], *, cells: tuple[int, int, int]
) -> None:
    """Make missing collections, one conversion after the other, each in a fresh process.

    Parameters
    ----------
    stores
        Gains the collections; those and h5ad files that it names already are used.
    folder
        Folder to make them in; data that an earlier run left there is reused.
    workers
        Processes that convert.
    peers
        Workers of the installed peers.
    cells
        Files, cells and genes to make, if there is no data.
    """
    for name in (SCVERSE, *LAYOUTS):
        if name not in stores.sparse and (folder / f"{name}.zarr").exists():
            stores.sparse[name] = folder / f"{name}.zarr"
    missing = [name for name in (SCVERSE, *LAYOUTS) if name not in stores.sparse]
    missing = [name for name in missing if name != SCVERSE or "scverse_annbatch" in peers]
    scdl = folder / "scdl"
    needs_scdl = "bionemo_scdl" in peers and not scdl.exists()
    if not stores.sparse or sorted(folder.glob("cells*.h5ad")):
        make_h5ad(stores, folder, cells=cells)
    if not stores.h5ad:  # only the given stores: no data to make others from
        return
    for name in missing:
        worker = "scverse_annbatch" if name == SCVERSE else "this_package"
        path = folder / f"{name}.zarr"
        if _convert(stores, workers, worker, name, {"store": str(path), "layout": name}):
            stores.sparse[name] = path
    if needs_scdl:
        _convert(stores, workers, "bionemo_scdl", "BioNeMo SCDL", {"store": str(scdl)})
    if scdl.exists():
        stores.scdl = scdl


def make_h5ad(stores: Stores, folder: Path, *, cells: tuple[int, int, int]) -> None:
    """Make h5ad files, unless there are some; arguments as for :func:`make_sparse`."""
    if not stores.h5ad:
        n_files, n_cells, n_genes = cells
        stores.h5ad = sorted(folder.glob("cells*.h5ad")) or write_cells(
            folder, n_files=n_files, n_cells=n_cells, n_genes=n_genes
        )


def _convert(stores: Stores, workers: Workers, worker: str, name: str, task: dict[str, Any]) -> bool:
    task = {"kind": "convert", "h5ad": [str(path) for path in stores.h5ad], **task}
    print(f"  converting into {Path(task['store']).name} ...", flush=True)
    result = measure_once(Contender(name, worker, task), workers)
    stores.conversions.append(result)
    if "error" in result:
        print(f"    failed: {result['error']}", flush=True)
    return "error" not in result


def make_dense(stores: Stores, folder: Path, *, scale: float) -> None:
    """Make missing dense arrays: each kind as scverse annbatch writes it, and as this package does.

    Parameters
    ----------
    stores
        Gains the arrays.
    folder
        Folder to make them in; data that an earlier run left there is reused.
    scale
        Rows to make, as a share of the usual number.
    """
    for kind, usual in DENSE_ROWS.items():
        n_rows = max(DENSE_WINDOWS[kind] // 16, int(usual * scale))
        first, ours = folder / f"{kind}-{n_rows}-scverse.zarr", folder / f"{kind}-{n_rows}.zarr"
        if not (ours / "done").exists():
            print(f"  making {n_rows:,} {kind} ...", flush=True)
            rows = np.concatenate(list(dense_blocks(kind, n_rows)))
            _write_as_scverse(first, rows)
            write_sharded(zarr.open_group(ours, mode="w", zarr_format=3), ad.AnnData(obsm={"rows": rows}))
            (ours / "done").touch()
        stores.dense[kind] = {SCVERSE: first, "compact": ours / "obsm" / "rows"}


def _write_as_scverse(path: Path, rows: np.ndarray) -> None:
    """Write an array with the chunks, shards and codec that scverse annbatch 0.3 gives it by default."""
    n_rows, rest = rows.shape[0], rows.shape[1:]
    chunk = min(64, n_rows)
    shard = max(chunk, min(n_rows, (1 << 30) * n_rows // rows.nbytes) // chunk * chunk)
    array = zarr.create_array(
        path,
        shape=rows.shape,
        dtype=rows.dtype,
        chunks=(chunk, *rest),
        shards=(shard, *rest),
        compressors=BloscCodec(cname="lz4", clevel=3, shuffle="shuffle", typesize=rows.itemsize),
        zarr_format=3,
        overwrite=True,
    )
    array[:] = rows
