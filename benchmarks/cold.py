"""The section that reads from a disk: nothing is in the page cache, or only what fits there beside the loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cases import Case, Contender
from .page_memory import can_limit
from .setup import OURS, PEER, Cases, Setup
from .stores import SCVERSE

WAYS: dict[str, dict[str, Any]] = {
    OURS: {},
    f"{OURS} with direct_io": {"direct_io": True},
    f"{OURS} from memory": {"cached": True},
}
"""How this package reads: by default, around the page cache, and from it, as the other limit of what it can reach."""

LARGER_THAN_MEMORY = 1.5
"""Size of a store over the memory that is left for its pages."""

LEAST_MEMORY = 64 << 20
"""Bytes that a process needs for itself."""

BETWEEN = "portable"
"""Layout that is left out."""

SMALL_SHARE = 200
"""A small window has one of this many rows of the store, as the usual window has of an atlas."""


def cold_cases(setup: Setup) -> Cases:
    """Compare loaders with the disk, which reads just the blocks that the rows lie in.

    Yields chunks of all sizes in usual windows; single rows in windows that touch a small share of the store; dense
    rows; then whole epochs of stores that do not fit into memory.
    """
    for chunk_size, window in _sizes(setup):
        contenders, baseline = [], None
        size = {"window": window, "batch_size": min(setup.batch_size, window)}
        for store in _stores(setup):
            disk = setup.sparse("limits", f"disk, {store} store", store, chunk_size, **size, kind="disk")
            contenders.append(disk)
            for name, how in WAYS.items():
                more = size | how | {"limit": disk.name, "obs": False}
                contenders.append(setup.sparse("this_package", f"{name}, {store} store", store, chunk_size, **more))
            if store == SCVERSE and setup.has_scverse:
                baseline = f"{PEER}, {store} store"
                contenders.append(setup.sparse("scverse_annbatch", baseline, store, chunk_size, **size, obs=False))
        rows = f" in windows of {window:,} of {setup.n_obs:,} rows" if window != setup.window else ""
        yield Case("cold", f"chunks of {chunk_size}{rows}", tuple(contenders), baseline, cold=True)
    for kind, paths in setup.stores.dense.items():
        yield Case("cold", f"{kind}, chunks of 64", tuple(_dense(kind, paths["compact"], setup)), cold=True)
    for store, path in _stores(setup).items() if can_limit() else ():
        whole = setup.sparse("this_package", f"{OURS}, {store} store", store, 64, obs=False)
        memory = max(LEAST_MEMORY, int(_size(path) / LARGER_THAN_MEMORY))
        fields = {"least": whole.most, "most": whole.most, "page_memory": memory}
        case = f"{store}: epochs of a store of {LARGER_THAN_MEMORY} times the memory for its pages, chunks of 64"
        for way, how in {"": {}, " through the page cache": {"direct_io": False}}.items():  # each in its own process
            one = Contender(f"{OURS}{way}, {store} store", whole.worker, whole.task | how, **fields)
            yield Case("cold", f"{case}{way}", (one,))


def _stores(setup: Setup) -> dict[str, Path]:
    """Return the stores that are read: all but the one that lies between the others in size and speed."""
    return {name: path for name, path in setup.stores.sparse.items() if name != BETWEEN}


def _sizes(setup: Setup) -> list[tuple[int, int]]:
    """Return chunk size and window of each case."""
    small = max(setup.n_obs // SMALL_SHARE, 16)
    usual = [(chunk_size, setup.window) for chunk_size in setup.chunk_sizes if chunk_size <= setup.window]
    return [*usual, *([(setup.chunk_sizes[-1], small)] if small < setup.window else [])]


def _dense(kind: str, path: Path, setup: Setup) -> list[Contender]:
    task, size = setup.dense(kind, path, 64)
    disk = Contender("disk", "limits", task | {"kind": "disk"}, **size)
    ours = []
    for name, how in WAYS.items():
        direct_io = {key: value for key, value in how.items() if key == "direct_io"}
        cached = how.get("cached", False)
        ours.append(Contender(name, "this_package", task | direct_io, limit=disk.name, cached=cached, **size))
    return [disk, *ours]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
