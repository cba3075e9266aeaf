"""Memory over time of two conversions, each in a process of its own: one within memory, one through the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.data import write_cells

from .canvas import Canvas
from .plot import Axes

CONVERT = """
import json, sys
from annbatch import DatasetCollection
store, limit, *files = json.loads(sys.argv[1])
print("begins", flush=True)
DatasetCollection(store).add_adatas(files, memory_limit=limit, progress=False)
"""
LIMITS = {"blue": "4GB", "orange": "500MB"}
PAGE = os.sysconf("SC_PAGE_SIZE")
N_POINTS = 200
"""Points of a line: each is the most of a two-hundredth of the time."""


def draw(*, small: bool = False) -> str:
    """Measure and return the picture; Linux only."""
    n_cells, n_genes = (2_000, 500) if small else (100_000, 62_710)
    with tempfile.TemporaryDirectory() as folder:
        files = write_cells(Path(folder), n_files=4, n_cells=n_cells, n_genes=n_genes)
        size = sum(path.stat().st_size for path in files)
        measured = {}
        for colour, limit in LIMITS.items():
            task = [f"{folder}/{limit}.zarr", limit, *map(str, files)]
            measured[colour] = _watch([sys.executable, "-c", CONVERT, json.dumps(task)])

    peaks = {colour: max(samples.values()) for colour, samples in measured.items()}
    highest = max(peaks.values()) * 1.1
    canvas = Canvas(
        322,
        f"Memory of the process over time in two conversions of h5ad files of {size / 1e9:.1f} GB: at most "
        f"{peaks['blue'] / 1e9:.1f} GB with the default memory limit, and {peaks['orange'] / 1e9:.2f} GB with 500MB.",
    )
    canvas.text(8, 18, f"Converting {n_cells:,} cells", "ink strong")
    canvas.text(432, 18, f"h5ad files of {size / 1e9:.1f} GB", "note", "end")
    names = {colour: f'memory_limit="{limit}"' for colour, limit in LIMITS.items()}
    canvas.legend(8, 42, names, 170)
    axes = Axes(canvas, 84, 270, lambda x: x, lambda y: y / highest)
    step_y = next(step for step in (0.05e9, 0.1e9, 0.25e9, 0.5e9, 1e9, 10e9) if highest / step <= 5)
    axes.ticks(
        {0: "begin", 1: "end"},
        {step_y * i: f"{step_y * i / 1e9:g}" for i in range(int(highest / step_y) + 1)},
        "time",
        "GB of memory, interpreter and libraries included",
    )
    smaller = 0.5e9
    if smaller < highest:
        canvas.line([axes.at(0, smaller), axes.at(1, smaller)], "orange", 1.5, "5 4")
    for colour, samples in measured.items():
        axes.series(samples, colour)
    return str(canvas)


def _watch(command: list[str]) -> dict[float, float]:
    """Run a command, and return the resident bytes of its process, by the share of the time that it took."""
    samples: list[int] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # everything has been imported
        while process.poll() is None:
            resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE
            samples += [resident] if resident else []  # none once it has ended, until it is waited for
            time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    parts = np.array_split(samples, min(len(samples), N_POINTS))
    return {number / max(len(parts) - 1, 1): float(part.max()) for number, part in enumerate(parts)}
