"""The section of matched sets: compared with plain batches of the same rows."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from annbatch import DatasetCollection

from .cases import Case, Contender

SET_SIZE = 64
GROUP, CONTROL = "cell_line", "line0"


def set_cases(
    h5ad: list[Path], shuffled: Path, folder: Path, n_obs: int, *, window: int, peers: set[str]
) -> Generator[Case, Any, None]:
    """Compare sets and pairs of 64 rows with plain batches of the same rows, on a grouped and a shuffled collection."""
    grouped = folder / "grouped.zarr"
    if not grouped.exists():
        print("  converting into grouped.zarr ...", flush=True)
        DatasetCollection(grouped).add_adatas(h5ad, groupby=GROUP, rng=np.random.default_rng(0), progress=False)
    size: dict[str, Any] = {"least": min(window, n_obs), "most": max(1, n_obs // window) * window}
    sets = {"kind": "sets", "set_size": SET_SIZE, "window": window, "group": GROUP}
    for case, store in (("grouped by line", grouped), ("shuffled", shuffled)):
        task = sets | {"store": str(store)}
        contenders = [
            Contender(f"{name}{how}", "this_package", task | {"control": control, "plain": bool(how)}, **size)
            for name, control in (("sets", None), ("pairs", CONTROL))
            for how in (", as plain batches", "")
        ]
        if "cell_load_sets" in peers and store is grouped:
            few = {"least": min(2_048, n_obs), "most": min(2_048, n_obs)}
            peer = {"h5ad": [str(path) for path in h5ad], "control": CONTROL, **sets}
            contenders.append(Contender("cell-load, pairs", "cell_load_sets", peer, **few))
        yield Case("sets", case, tuple(contenders), "pairs, as plain batches")
