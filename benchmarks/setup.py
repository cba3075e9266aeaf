"""What all sections of the benchmark share: stores, sizes, and contenders that read them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import zarr

from .cases import Case, Contender
from .data import DENSE_WINDOWS
from .stores import Stores

Cases: TypeAlias = Generator[Case, dict[str, Any], None]

OURS, PEER = "annbatch", "scverse annbatch"


@dataclass(frozen=True, slots=True)
class Setup:
    """Setup of a run.

    Attributes
    ----------
    stores
        Stores to read.
    folder
        Folder for more data.
    peers
        Workers of the installed peers.
    chunk_sizes
        Chunk sizes of the loaders, largest first.
    window
        Rows per window.
    batch_size
        Usual batch size; the other is 128.
    dense_scale
        Size of dense data, and of its windows, as a share of the usual one.
    """

    stores: Stores
    folder: Path
    peers: set[str]
    chunk_sizes: tuple[int, ...]
    window: int
    batch_size: int
    dense_scale: float

    @property
    def has_scverse(self) -> bool:
        """Whether scverse annbatch takes part."""
        return "scverse_annbatch" in self.peers

    @property
    def usual(self) -> str:
        """Store for the sections that do not compare stores."""
        return "compact" if "compact" in self.stores.sparse else next(iter(self.stores.sparse))

    @property
    def n_obs(self) -> int:
        """Rows of the sparse stores."""
        return self.stores.n_obs

    def sparse(self, worker: str, name: str, store: str, chunk_size: int, **more: Any) -> Contender:
        """Return a contender that reads a sparse store, with all of obs unless ``obs`` is False."""
        task = {
            "kind": "sparse",
            "store": str(self.stores.sparse[store]),
            "chunk_size": chunk_size,
            "batch_size": self.batch_size,
            "window": self.window,
            "obs": True,
        }
        fields = {key: more.pop(key) for key in ("limit", "threads", "cached") if key in more}
        whole_windows = max(1, self.n_obs // self.window) * self.window
        most = min(whole_windows, self.n_obs)
        return Contender(name, worker, {**task, **more}, least=min(self.window, self.n_obs), most=most, **fields)

    def limit(self, store: str, chunk_size: int, **more: Any) -> Contender:
        """Return the limit for any loader of a sparse store."""
        return self.sparse("limits", f"limit, {store} store", store, chunk_size, **more)

    def dense(self, kind: str, path: Path, chunk_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the task of reading an array of dense rows, and the fields of its contender that say how many."""
        window = max(64, int(DENSE_WINDOWS[kind] * self.dense_scale) // 64 * 64)
        n_rows = zarr.open_array(path, mode="r").shape[0]
        task = {
            "kind": "dense",
            "store": str(path),
            "chunk_size": chunk_size,
            "batch_size": min(256, window),
            "window": window,
        }
        return task, {"least": min(window, n_rows), "most": max(1, n_rows // window) * window}
