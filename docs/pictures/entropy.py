"""Entropy of batches against chunk size, of the same cells sorted and shuffled, in the first epoch."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from annbatch import DatasetCollection, Loader, diversity
from annbatch.demo._atlas import write_atlas

from .canvas import Canvas
from .plot import Axes

BATCH = 128


def draw(*, small: bool = False) -> str:
    """Measure and return the picture."""
    cells, window = (500, 512) if small else (5_000, 4_096)
    chunk_sizes = [4**power for power in range(6) if 4**power <= window]
    with tempfile.TemporaryDirectory() as folder:
        files = write_atlas(Path(folder), cells_per_study=cells, n_genes=20, seed=0)
        shares = {}
        for name, groupby in (("sorted by donor", "donor"), ("shuffled", None)):
            collection = DatasetCollection(Path(folder) / f"{name}.zarr")
            collection.add_adatas(files, groupby=groupby, seed=0, progress=False)
            shares[name] = {size: _share(collection, size, window // size) for size in chunk_sizes}

    canvas = Canvas(
        326,
        "The share of the entropy of uniform sampling that batches of the first epoch have, over chunk sizes from 1 to "
        f"{chunk_sizes[-1]:,}. From shuffled rows it stays at 100 %; from rows sorted by donor it falls to "
        f"{shares['sorted by donor'][chunk_sizes[-1]]:.0%}.",
    )
    canvas.text(8, 18, "Donors in a batch, first epoch", "ink strong")
    canvas.legend(8, 42, {"blue": "shuffled rows", "orange": "rows sorted by donor"}, 130)
    axes = Axes(
        canvas,
        84,
        274,
        lambda x: math.log(max(x, 1)) / math.log(chunk_sizes[-1]),
        lambda y: y,
    )
    axes.ticks(
        {size: f"{size:,}" for size in chunk_sizes},
        {share / 4: f"{share / 4:.0%}" for share in range(5)},
        f"chunk_size, in windows of {window:,} rows",
        "entropy, of that of uniform sampling",
    )
    axes.series(shares["sorted by donor"], "orange", dots=True)
    axes.series(shares["shuffled"], "blue", dots=True)
    return str(canvas)


def _share(collection: DatasetCollection, chunk_size: int, n_chunks: int) -> float:
    loader = Loader(
        collection,
        batch_size=BATCH,
        chunk_size=chunk_size,
        preload_nchunks=n_chunks,
        shuffle=True,
        seed=0,
    )
    return min(1.0, diversity(loader, "donor").share_of_entropy)
