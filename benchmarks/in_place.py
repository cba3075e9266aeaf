"""The sections that read data without conversion: AnnData in memory, h5ad files, and zarr stores of anndata."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py

from .cases import Case, Contender

MOST_CELLS = 50_000
"""Most cells to hold in memory, or to read from a file."""


def rows_of(h5ad: Path) -> int:
    """Return the number of cells in a file."""
    with h5py.File(h5ad, "r") as file:
        return int(file["X"].attrs["shape"][0])


def memory_cases(h5ad: list[Path], n_obs: int, *, window: int, batch_size: int) -> Generator[Case, Any, None]:
    """Compare shuffled batches of a matrix in memory with those that SciPy gathers by ``X[rows]``."""
    n_rows = min(n_obs, MOST_CELLS)
    for n in (batch_size, 128):
        task = {"kind": "memory", "h5ad": str(h5ad[0]), "n_obs": n_rows, "batch_size": n, "window": window}
        size: dict[str, Any] = {"least": min(window, n_rows), "most": max(1, n_rows // window) * window}
        scipy = Contender("SciPy", "in_place", task | {"by": "scipy"}, **size)
        ours = Contender("annbatch", "in_place", task | {"by": "annbatch"}, **size)
        yield Case("memory", f"batches of {n}", (scipy, ours), scipy.name)


def h5ad_cases(
    h5ad: list[Path], gzip: list[Path], n_obs: int, *, window: int, batch_size: int
) -> Generator[Case, Any, None]:
    """Compare shuffled chunks of 512 rows with h5py, which reads the same arrays from front to back."""
    n_rows = min(n_obs, MOST_CELLS)
    for case, files in (("uncompressed", h5ad), ("gzip", gzip)):
        task = {"kind": "h5ad", "h5ad": str(files[0]), "n_obs": n_rows, "batch_size": batch_size, "window": window}
        size: dict[str, Any] = {"least": min(window, n_rows), "most": max(1, n_rows // window) * window}
        library = Contender("h5py", "in_place", task | {"by": "h5py"}, **size)
        ours = Contender("annbatch", "in_place", task | {"by": "annbatch"}, **size)
        yield Case("h5ad", case, (library, ours), library.name)


def zarr_cases(
    h5ad: list[Path], folder: Path, n_obs: int, *, window: int, batch_size: int, has_scverse: bool
) -> Generator[Case, Any, None]:
    """Compare with scverse annbatch on a store that ``anndata.write_zarr`` wrote, with the defaults of anndata 0.13."""
    store = folder / "anndata.zarr"
    if not store.exists():
        print("  writing anndata.zarr ...", flush=True)
        with ad.settings.override(zarr_write_format=3, auto_shard_zarr_v3=True):
            ad.read_h5ad(h5ad[0]).write_zarr(store)
    size: dict[str, Any] = {"least": min(window, n_obs), "most": max(1, n_obs // window) * window}
    task = {"kind": "sparse", "matrix": str(store / "X"), "batch_size": batch_size, "window": window, "obs": False}
    baseline = "scverse annbatch" if has_scverse else None
    names = {"this_package": "annbatch"} | ({"scverse_annbatch": baseline} if baseline else {})
    for chunk_size in (64, 1):
        contenders = tuple(
            Contender(name, worker, task | {"chunk_size": chunk_size}, **size) for worker, name in names.items()
        )
        yield Case("foreign", f"chunks of {chunk_size}", contenders, baseline)
