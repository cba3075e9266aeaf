"""The section that compares conversions, in turn, each in a fresh process so that its memory can be measured."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path
from statistics import median
from typing import Any

import anndata as ad

from .cases import Case, Contender
from .measure import measure_once
from .processes import Workers

CONVERSION = "conversion"
OURS, PEER = "annbatch", "scverse annbatch"
LITTLE = "500MB"
LITTLE_BYTES = 500 << 20
STAGES = {"read": "limit: read the inputs", "encode": "limit: encode", "write": "limit: write the result"}
TIMES = 5


def compress(files: list[Path], folder: Path) -> list[Path]:
    """Return the same h5ad files, compressed by gzip; make missing ones."""
    compressed = []
    for path in files:
        made = folder / f"gzip-{path.name}"
        if not made.exists():
            print(f"  compressing {path.name} ...", flush=True)
            unfinished = made.with_suffix(".part")
            ad.read_h5ad(path).write_h5ad(unfinished, compression="gzip")
            unfinished.rename(made)
        compressed.append(made)
    return compressed


def conversion_cases(
    h5ad: list[Path], gzip: list[Path], folder: Path, *, has_scverse: bool
) -> Generator[Case, Any, None]:
    """Yield the cases: files, within the usual and a small memory limit, and five times as many; gzip; a collection.

    Parameters
    ----------
    h5ad, gzip
        The same cells, uncompressed and compressed.
    folder
        Folder for the stores, one after the other.
    has_scverse
        Whether scverse annbatch takes part, with its defaults.
    """
    task: dict[str, Any] = {"kind": "convert", "store": str(folder / "conversion.zarr")}
    files, compressed = (task | {"h5ad": [str(path) for path in paths]} for paths in (h5ad, gzip))
    others = [
        Contender(f"{OURS}, memory_limit={LITTLE!r}", "this_package", files | {"memory_limit": LITTLE}),
        Contender(f"{OURS}, {TIMES} times as many", "this_package", files | {"h5ad": files["h5ad"] * TIMES}),
        *(Contender(name, "conversion_stages", files | {"stage": stage}) for stage, name in STAGES.items()),
    ]
    for case, given, more in (("h5ad files", files, others), ("h5ad files, gzip", compressed, [])):
        peers = [Contender(PEER, "scverse_annbatch", given)] if has_scverse else []
        contenders = (*peers, Contender(OURS, "this_package", given), *more)
        yield Case(CONVERSION, case, contenders, PEER if has_scverse else None)
    existing = files | {"collection": str(folder / "converted.zarr")}
    ways = {"its datasets converted again": {}, "reshuffle": {"reshuffle": True}}
    yield Case(
        CONVERSION,
        "a collection",
        tuple(Contender(f"{OURS}, {name}", "this_package", existing | how) for name, how in ways.items()),
    )


def measure_conversion(case: Case, workers: Workers, *, rounds: int) -> dict[str, Any]:
    """Measure a case: one conversion per contender and round, its inputs read just before.

    Returns
    -------
    dict
        As of :func:`~benchmarks.measure.measure`; also ``peak_bytes``, and ``memory``, the baseline's peak over this
        one's.
    """
    found: dict[str, list[dict[str, Any]]] = {one.name: [] for one in case.contenders}
    for _ in range(rounds):
        for one in case.contenders:
            store = Path(one.task["store"])
            shutil.rmtree(store, ignore_errors=True)
            for path in set(one.task["h5ad"]):
                _read(Path(path))
            found[one.name].append(measure_once(one, workers))
            shutil.rmtree(store, ignore_errors=True)
    samples = {name: [s for one in many for s in one.get("samples", [])] for name, many in found.items()}
    contenders = []
    for one in case.contenders:
        result: dict[str, Any] = {"name": one.name, "unit": one.unit, "limit": None, "of_limit": None}
        mine, theirs = samples[one.name], samples.get(case.baseline or "", [])
        if len(mine) < rounds:
            contenders.append({**result, "error": next(o["error"] for o in found[one.name] if "error" in o)})
            continue
        result["samples"] = mine
        result["per_second"] = median(map(_rate, mine))
        result["per_cpu_second"] = median(s["amount"] / max(s["cpu_seconds"], 1e-9) for s in mine)
        result["peak_bytes"] = max(s["peak_bytes"] for s in mine)
        pairs = list(zip(mine, theirs, strict=False))
        result["ratio"] = median(_rate(a) / _rate(b) for a, b in pairs) if pairs else None
        result["memory"] = median(b["peak_bytes"] / a["peak_bytes"] for a, b in pairs) if pairs else None
        result["within"] = LITTLE_BYTES / result["peak_bytes"] if "memory_limit" in one.task else None
        contenders.append(result)
    stages = [one for one in contenders if one["name"] in STAGES.values() and "per_second" in one]
    if stages:
        slowest = min(stages, key=lambda one: one["per_second"])
        for one in contenders:
            if one not in stages and "per_second" in one:
                one["limit"], one["of_limit"] = slowest["name"], one["per_second"] / slowest["per_second"]
    return {
        "section": case.section,
        "case": case.name,
        "baseline": case.baseline,
        "cold": case.cold,
        "contenders": contenders,
    }


def _rate(sample: dict[str, Any]) -> float:
    return float(sample["amount"] / sample["seconds"])


def _read(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(16 << 20):
            pass
