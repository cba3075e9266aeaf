"""The demo from end to end, telling what it does while it does it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._sizes import format_bytes, size_on_disk
from ..collection import DatasetCollection
from ._atlas import N_STUDIES, RARE, write_atlas
from ._label import choose_label
from ._model import find_framework
from ._stopwatch import Stopwatch
from ._train import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ._train import Fit


def run(
    paths: Sequence[str | Path] = (),
    *,
    label: str | None = None,
    out: str | Path | None = None,
    framework: str | None = None,
    cells_per_study: int = 10_000,
    n_genes: int = 2_000,
    seed: int = 0,
    progress: bool = True,
) -> Fit:
    """Convert h5ad files into a shuffled collection, train a classifier from its batches, and print what happened.

    Parameters
    ----------
    paths
        h5ad files; none: a small atlas is made.
    label
        Column of ``obs`` to learn; None: the categorical one with the most categories.
    out
        Folder to keep the files in, made where there is none; None: a temporary one, removed at the end.
    framework
        Name of the adapter to train with, or ``"numpy"``; None: the first whose framework is installed, else NumPy.
    cells_per_study, n_genes
        Size of the atlas that is made.
    seed
        Seed of the atlas, the shuffling and the order of the batches.
    progress
        Whether to show progress bars, on standard error.

    Returns
    -------
    Fit
        Settings and results of training.

    Raises
    ------
    OSError
        If a file cannot be read or written, or ``out`` has a demo's collection already.
    ValueError
        If ``label`` or ``framework`` is not one that there is.
    """
    clock = Stopwatch()
    adapter = find_framework(framework)
    with ExitStack() as stack:
        folder = Path(out or stack.enter_context(tempfile.TemporaryDirectory(prefix="annbatch-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        store = folder / "demo.zarr"
        if store.exists():
            raise FileExistsError(f"{store}: there is a collection already, and it would be added to.")
        sources = [Path(path) for path in paths]
        if not sources:
            print(f"Making an atlas of {N_STUDIES} studies that measured different genes ...")
            with clock.measure("making the atlas"):
                sources = write_atlas(folder, cells_per_study=cells_per_study, n_genes=n_genes, seed=seed)
            label = label or "cell_type"
        label, classes = choose_label(sources, label)

        print(f"Converting {len(sources)} h5ad file{'s' * (len(sources) > 1)} into the shuffled collection {store} ...")
        with clock.measure("converting"):
            collection = DatasetCollection(store).add_adatas(
                sources, rng=np.random.default_rng(seed), progress=progress
            )
        _tell_sizes(collection, store, sources)

        print(f"Training to tell the {len(classes)} values of {label!r} apart ...")
        result = fit(
            collection,
            label,
            classes,
            adapter=adapter,
            seed=seed,
            progress=progress,
            clock=clock,
        )
        _tell_fit(result, classes, made=not paths)
        _tell_time(result, clock)
        if out is not None:
            print(f"Kept in {folder.resolve()}.")
    return result


def _tell_sizes(collection: DatasetCollection, store: Path, sources: Sequence[Path]) -> None:
    before, after = sum(path.stat().st_size for path in sources), size_on_disk(store)
    print(
        f"  {collection.n_obs:,} cells x {collection.n_vars:,} genes; "
        f"{format_bytes(before)} as h5ad, {format_bytes(after)} as a collection"
    )


def _tell_fit(result: Fit, classes: pd.Index, *, made: bool) -> None:
    print(
        f"  softmax regression in {result.framework}: {result.n_batches:,} batches of {result.batch_size} "
        f"in {result.n_epochs} epochs over {result.n_train:,} cells\n"
        f"  accuracy on {result.n_held_out:,} held-out cells: {result.accuracy:.1%} "
        f"(always guessing {str(classes[result.majority])!r}: {result.baseline:.1%})"
    )
    if made:
        rare = result.truth == classes.get_loc(RARE)
        found = rare & (result.predicted == result.truth)
        print(f"  the rare type {RARE!r}, one cell in 200: {found.sum()} of {rare.sum()} found")


def _tell_time(result: Fit, clock: Stopwatch) -> None:
    print("Where the time went:")
    for activity, seconds in clock.seconds.items():
        print(f"  {activity:<22} {seconds:6.1f} s")
    training = clock.seconds["waiting for batches"] + clock.seconds["training steps"]
    print(
        f"  {(result.n_batches - 1) / training:,.0f} batches/s; meanwhile {format_bytes(result.bytes_read)} read in "
        f"{result.read_seconds:.1f} s of background work, {format_bytes(result.peak_buffer_bytes)} of buffers at most"
    )
