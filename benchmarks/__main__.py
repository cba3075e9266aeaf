"""Measure the machine, this package and its peers, in turn: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from docs.pictures import throughput

from .conversion import CONVERSION, measure_conversion
from .measure import ROUNDS_OF_SLOW, measure
from .peers import PEERS, find_peers, peer_versions
from .plot import plot, rates_of
from .processes import Workers
from .sections import IN_PLACE, SECTIONS
from .setup import Setup
from .stores import LAYOUTS, SCVERSE, Stores, make_dense, make_h5ad, make_sparse
from .tables import case_table, conversions_summary, replace, report, split, summary
from .targets import judge

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = Path(__file__).with_name("results.md")

COLD_TIMES = 3
"""How much longer a sample from a cold disk is: its first window cannot be decoded while another one is read."""

FULL: dict[str, Any] = {
    "cells": 200_000,
    "genes": 62_710,
    "files": 4,
    "chunk_sizes": [512, 64, 32, 16, 1],
    "window": 16_384,
    "rounds": 5,
    "seconds": 0.3,
}
QUICK: dict[str, Any] = {
    "cells": 3_000,
    "genes": 1_000,
    "files": 2,
    "chunk_sizes": [64, 1],
    "window": 1_024,
    "rounds": 2,
    "seconds": 0.02,
}


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if arguments.write_docs is not None:
        result = json.loads(arguments.write_docs.read_text())
        conversion, rest = split(result, CONVERSION)
        if rest["cases"]:
            replace(RESULTS, "loading", report(rest))
            replace(DOCS / "performance.md", "table", summary(rest))
            (DOCS / "pictures" / "throughput.svg").write_text(throughput.draw())
        if conversion["cases"]:
            replace(RESULTS, "conversion", report(conversion))
            replace(DOCS / "conversion.md", "table", conversions_summary(conversion))
        return 0
    for name, value in (QUICK if arguments.quick else FULL).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    result = run(arguments)
    print(report(result))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    picture = plot(rates_of(result))
    if picture is not None:
        (arguments.out / "result.svg").write_text(picture)
    print(f"\nWritten: {arguments.out / 'result.json'}")
    return 0


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the missing data, measure, and return all results."""
    begin, load = time.monotonic(), os.getloadavg()[0]
    pythons = find_peers(arguments.peers)
    missing = [peer.name for peer in PEERS if peer.worker not in pythons]
    if missing:
        print(f"Not installed in any environment of --peers: {', '.join(missing)}.", flush=True)
    stores = Stores(sparse=dict(arguments.store), h5ad=list(arguments.h5ad))
    with ExitStack() as stack:
        folder = arguments.data
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="annbatch-benchmarks-")))
        folder.mkdir(parents=True, exist_ok=True)
        workers = stack.enter_context(Workers(pythons))
        cells = (arguments.files, arguments.cells, arguments.genes)
        print(f"Data in {folder}", flush=True)
        if not IN_PLACE.isdisjoint(arguments.only):
            make_h5ad(stores, folder, cells=cells)
        if not IN_PLACE.issuperset(arguments.only):
            make_sparse(stores, folder, workers, set(pythons), cells=cells)
            if not stores.sparse:
                raise SystemExit("No store to read: every conversion failed.")
        scale = 1 / 16 if arguments.quick else 1.0
        if {"dense", "cold"} & set(arguments.only):
            make_dense(stores, folder, scale=scale)
        setup = Setup(
            stores=stores,
            folder=folder,
            peers=set(pythons),
            chunk_sizes=tuple(sorted(arguments.chunk_sizes, reverse=True)),
            window=arguments.window,
            batch_size=min(4_096, arguments.window),
            dense_scale=scale,
        )
        cases = [case for name in arguments.only for case in _section(name, setup, workers, arguments)]
        return {
            "format": 1,
            "date": date.today().isoformat(),
            "seconds": time.monotonic() - begin,
            "machine": _machine(load),
            "versions": _versions() | peer_versions(pythons),
            "peers": sorted(pythons),
            "settings": {
                "quick": arguments.quick,
                "rounds": arguments.rounds,
                "seconds": arguments.seconds,
                "window": setup.window,
                "batch_size": setup.batch_size,
                "chunk_sizes": list(setup.chunk_sizes),
            },
            "stores": stores.describe(),
            "conversions": stores.conversions,
            "cases": cases,
            "targets": judge(cases),
        }


def _section(name: str, setup: Setup, workers: Workers, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    begin, measured = time.monotonic(), []
    cases = SECTIONS[name](setup)
    case = next(cases, None)
    while case is not None:
        if name == CONVERSION:
            result = measure_conversion(case, workers, rounds=min(arguments.rounds, ROUNDS_OF_SLOW))
        else:
            forget = _drop_caches if arguments.drop_caches else _nothing
            seconds = arguments.seconds * (COLD_TIMES if case.cold else 1)
            result = measure(case, workers, rounds=arguments.rounds, seconds=seconds, forget=forget)
        measured.append(result)
        print(f"\n{case.section}\n{case_table(result)}", flush=True)
        for one in result["contenders"]:
            if "error" in one:
                print(f"  {one['name']} failed: {one['error']}", flush=True)
        try:
            case = cases.send(result)
        except StopIteration:
            case = None
    print(f"\n{name}: {time.monotonic() - begin:.0f} s", flush=True)
    return measured


def _nothing() -> None:
    pass


def _drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")


def _machine(load: float) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = models[0] if models else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": cpu, "cores": cores, "system": platform.platform(), "load": load}


def _versions() -> dict[str, str]:
    names = ("annbatch", "numpy", "zarr", "anndata", "numba", "blosc2")
    return {"Python": platform.python_version(), **{name: version(name) for name in names}}


def _store(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in (SCVERSE, *LAYOUTS) or not Path(path).is_dir():
        known = ", ".join((SCVERSE, *LAYOUTS))
        raise argparse.ArgumentTypeError(f"must be NAME=FOLDER, the name one of {known}, got {text!r}")
    return name, Path(path)


def _sections(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be among {', '.join(SECTIONS)}, got {', '.join(unknown)}")
    return [name for name in SECTIONS if name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="small data and short samples: shows that all works, measures nothing")
    add("--only", type=_sections, default=list(SECTIONS), metavar="A,B", help=f"sections: {', '.join(SECTIONS)}")
    add("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR", help="for result.json and result.svg")
    add("--data", type=Path, metavar="DIR", help="make data here, and reuse what is there (default: temporary)")
    add("--h5ad", type=Path, nargs="+", default=[], metavar="FILE", help="cells to convert, instead of synthetic ones")
    add("--store", type=_store, action="append", default=[], metavar="NAME=DIR", help="an existing collection")
    add("--peers", type=Path, nargs="+", default=[], metavar="DIR", help="environments of peers, or folders of them")
    add("--cells", type=int, help=f"cells to make (default {FULL['cells']:,})")
    add("--genes", type=int, help=f"genes to make (default {FULL['genes']:,})")
    add("--files", type=int, help=f"h5ad files to make (default {FULL['files']})")
    add("--chunk-sizes", type=int, nargs="+", metavar="N", help="contiguous rows read together")
    add("--window", type=int, metavar="ROWS", help=f"rows in memory together (default {FULL['window']:,})")
    add("--rounds", type=int, help=f"samples per contender (default {FULL['rounds']})")
    add("--seconds", type=float, help=f"length of a sample (default {FULL['seconds']:g})")
    add("--drop-caches", action="store_true", help="cold: also drop the machine's page cache; needs root")
    add(
        "--write-docs",
        type=Path,
        metavar="RESULT.json",
        help="measure nothing: write a result into docs/ and results.md",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
