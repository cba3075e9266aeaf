"""The sections that read data without conversion: AnnData in memory, and h5ad files."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

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
