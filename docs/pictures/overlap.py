"""Reading and computing over time: one run with windows read in turn, and one with windows read ahead."""

from __future__ import annotations

import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from annbatch import DatasetCollection, Loader
from annbatch.demo._atlas import write_atlas

from .canvas import Canvas
from .plot import Axes

N_WINDOWS, BATCHES = 6, 4
"""Windows that are drawn, and batches in each."""


@dataclass(frozen=True, slots=True)
class Run:
    """When things happened, in seconds from the start: the steps that computed, and the times at which threads read."""

    steps: list[tuple[float, float]]
    reads: list[tuple[float, float]]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.steps[-1][1]


def draw(*, small: bool = False) -> str:
    """Measure and return the picture."""
    cells, genes, batch, rounds = (200, 50, 16, 1) if small else (10_000, 2_000, 1_024, 15)
    with tempfile.TemporaryDirectory() as folder:
        files = write_atlas(Path(folder), cells_per_study=cells, n_genes=genes, seed=0)
        collection = DatasetCollection(Path(folder) / "cells.zarr").add_adatas(files, progress=False)
        alone = min(
            (_run(collection, batch, prefetch=0, step=0.0) for _ in range(rounds)),
            key=lambda run: run.seconds,
        )
        step = alone.seconds / (N_WINDOWS * BATCHES)  # a step as long as loading its batch
        pairs = [  # in turn, so that whatever else runs on the machine meets both
            (_run(collection, batch, prefetch=0, step=step), _run(collection, batch, prefetch="1GB", step=step))
            for _ in range(rounds)
        ]
    pair = min(pairs, key=lambda pair: pair[0].seconds + pair[1].seconds)
    shown = dict(zip(("in turn", "ahead"), pair, strict=True))

    canvas = Canvas(
        306,
        "Two timelines of reading and computing. With prefetch=0 they take turns. With windows read ahead, both go on "
        f"at the same time: {shown['ahead'].seconds:.2f} s instead of {shown['in turn'].seconds:.2f} s.",
    )
    longest = max(run.seconds for run in shown.values())
    titles = {
        "in turn": ("prefetch=0", "each window is read when the loop needs it"),
        "ahead": ("prefetch=\"1GB\"", "the default: windows are read ahead"),
    }  # fmt: skip
    for number, (name, run) in enumerate(shown.items()):
        top = 18 + 132 * number
        canvas.text(8, top, titles[name][0], "ink strong")
        canvas.text(432, top, titles[name][1], "note", "end")
        axes = Axes(
            canvas,
            top,
            top + 80,
            lambda x: x / longest,
            lambda y: y,
            left=86,
            right=432,
        )
        for lane, (what, spans, colour) in enumerate(
            (("reading", run.reads, "orange"), ("computing", run.steps, "blue"))
        ):
            y = top + 14 + 30 * lane
            canvas.text(8, y + 16, what, "ink")
            canvas.line([(86, y + 22), (432, y + 22)])
            for begin, end in spans:
                left, right = (
                    axes.at(begin, 0)[0],
                    axes.at(min(end, longest), 0)[0],
                )
                canvas.box(
                    left,
                    y,
                    max(right - left - (0.6 if colour == "blue" else 0), 0.5),
                    22,
                    colour,
                )
        end = axes.at(run.seconds, 0)[0]
        canvas.line([(end, top + 10), (end, top + 76)], "note", 1, "3 3")
        canvas.text(
            end,
            top + 90,
            f"{run.seconds * 1e3:.0f} ms",
            "note small",
            "end" if end > 400 else "middle",
        )
    canvas.text(
        8,
        288,
        f"{N_WINDOWS} windows of {BATCHES} batches. A step takes as long as reading its batch.",
        "note small",
    )
    return str(canvas)


def _run(
    collection: DatasetCollection,
    batch_size: int,
    *,
    prefetch: int | str,
    step: float,
) -> Run:
    """Iterate over some windows, once one epoch has warmed everything up."""
    chunk_size = batch_size // 16
    loader = Loader(
        collection, batch_size=batch_size, chunk_size=chunk_size, preload_nchunks=16 * BATCHES, shuffle=True, seed=0,
        prefetch=prefetch,
    )  # fmt: skip
    for _ in loader:
        pass
    samples: list[tuple[float, float]] = []
    ended = threading.Event()
    begin = time.perf_counter()

    def watch() -> None:
        while not ended.wait(0.0005):
            samples.append((time.perf_counter() - begin, loader.stats.read_seconds))

    watcher = threading.Thread(target=watch)
    watcher.start()
    steps = []
    batches = iter(loader)
    for _ in range(N_WINDOWS * BATCHES):
        next(batches)
        start = time.perf_counter() - begin
        time.sleep(step)  # as a host whose GPU computes
        steps.append((start, time.perf_counter() - begin))
    ended.set()
    watcher.join()
    batches.close()
    loader.close()
    reads: list[tuple[float, float]] = []
    for (earlier, before), (later, after) in pairwise(samples):
        if after > before and reads and earlier - reads[-1][1] < 0.002:
            reads[-1] = (reads[-1][0], later)
        elif after > before:
            reads.append((earlier, later))
    return Run(steps, reads)
