"""How far the batches of a loader are from rows drawn uniformly."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._arguments import unknown_names, wrong_kind
from .._loading.add_datasets import AddsDatasets, datasets_of, reads_attached_stores
from .._plan.position import Position
from .._plan.window_rows import plan_window, rows_by_dataset
from .._plot import bars
from ..samplers import RowSet
from ..samplers._checks import whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..loader import Loader

ENOUGH_ENTROPY = 0.99
"""Share of the entropy of uniform sampling, from which on batches count as mixed."""

NOT_SHUFFLED = "rows in the order of attached stores, not shuffled"


@dataclass(frozen=True, slots=True, repr=False)
class Diversity:
    """Diversity of batches, and of rows drawn uniformly.

    Attributes
    ----------
    column
        The column of ``obs`` that was looked at.
    n_batches
        Number of batches, spread over one epoch.
    entropy, ideal_entropy
        Mean entropy of the labels in a batch, in bits; and in as many rows drawn uniformly.
    chunk_size
        Consecutive stored rows in a source chunk.
    source_chunks, ideal_source_chunks
        Effective number of chunks that the rows of a batch are from, mean: that of as many chunks with the same number
        of rows each (the inverse Simpson index, 1 / sum(share ** 2)).
    attached
        Whether the rows are those of stores that were attached to a collection, in their order.
    """

    column: str
    n_batches: int
    entropy: float
    ideal_entropy: float
    chunk_size: int
    source_chunks: float
    ideal_source_chunks: float
    attached: bool = False

    def __repr__(self) -> str:
        return (
            f"Diversity of {self.n_batches} batches\n"
            f"  labels of {self.column}: {self.entropy:.3f} bits, {self.share_of_entropy:.1%} of "
            f"{self.ideal_entropy:.3f} with uniform sampling\n"
            f"  source chunks of {self.chunk_size} rows: {self.source_chunks:,.1f}, "
            f"{self.share_of_source_chunks:.1%} of {self.ideal_source_chunks:,.1f}"
            + (f"\n  {NOT_SHUFFLED}: costs {self.lost_entropy:.3f} bits per batch" if self.attached else "")
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot both figures in percent of those of uniform sampling.

        Draws on ``ax``, or on a new figure of matplotlib, and returns the axes.
        """
        shares = {f"labels of {self.column}": self.share_of_entropy, "source chunks": self.share_of_source_chunks}
        percent = {name: 100 * share for name, share in shares.items()}
        title = f"Diversity of {self.n_batches} batches"
        return bars(ax, percent, title=title, unit="% of uniform sampling", form="{:.1f}", reference=100)

    @property
    def lost_entropy(self) -> float:
        """Bits of entropy that a batch lacks, compared with uniform sampling."""
        return max(0.0, self.ideal_entropy - self.entropy)

    @property
    def share_of_entropy(self) -> float:
        """``entropy`` by ``ideal_entropy``; 1 where there is but one label."""
        return self.entropy / self.ideal_entropy if self.ideal_entropy else 1.0

    @property
    def share_of_source_chunks(self) -> float:
        """``source_chunks`` by ``ideal_source_chunks``."""
        return self.source_chunks / self.ideal_source_chunks


_TO_LOADER = {
    "a DatasetCollection": "`Loader(...).use_collection(collection)` makes one",
    "a path": "`Loader(...).use_collection(path)` makes one",
    "an AnnData object": "`Loader(...).add_adata(adata)` makes one",
    "a list": "call it with each",
}


def diversity(loader: Loader, column: str, *, n_batches: int = 100) -> Diversity:
    """Measure how far a loader's batches are from rows drawn uniformly. Only ``obs`` is read.

    Parameters
    ----------
    loader
        Loader whose sampler is measured, on its rows and within its ``mask``.
    column
        Labels in ``obs``, such as the cell type or the donor.
    n_batches
        Number of batches of the epoch to look at, evenly spread.

    Returns
    -------
    Diversity
        The figures; its ``repr`` is a small report.

    Raises
    ------
    KeyError
        If the loader has no such column.
    ValueError
        If ``n_batches`` is not positive, or the loader has no batch.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from annbatch import Loader, diversity
    >>> obs = pd.DataFrame(
    ...     {"type": np.repeat(["a", "b", "c", "d"], 1000)}
    ... )  # sorted: the worst case
    >>> def report(**settings):
    ...     loader = Loader(shuffle=True, seed=0, batch_size=100, **settings)
    ...     return diversity(loader.add_dataset(np.zeros((4000, 1)), obs), "type")
    >>> report(chunk_size=100, preload_nchunks=2).share_of_entropy < 0.5
    True
    >>> report(chunk_size=4, preload_nchunks=200).share_of_entropy > 0.98
    True
    """
    if not isinstance(loader, AddsDatasets):
        raise wrong_kind("loader", "a Loader", loader, _TO_LOADER)
    if whole(n_batches, "n_batches") < 1:
        raise ValueError(f"`n_batches` must be positive, got {n_batches}.")
    datasets = datasets_of(loader)
    table = datasets.obs()
    if table is None or column not in table.columns:
        raise unknown_names("column", "a column of obs", [column], [] if table is None else table.columns)
    loader.batch_sampler.order_seed()  # what is measured is what the loader yields
    n_obs, sampler = loader.n_obs, copy(loader.batch_sampler)
    sampler.set_epoch(loader.epoch)
    total = sampler.n_batches(n_obs)
    if not total:
        raise ValueError(f"`loader` must have batches to look at, got none of {n_obs} rows.")
    batches = []
    for steps in np.unique(np.linspace(0, total - 1, min(n_batches, total)).astype(np.int64)).tolist():
        window = plan_window(next(sampler.sample(n_obs, position=Position(sampler.epoch, steps=steps))), n_obs)
        batches.append(window.rows[: window.edges[1]])
    rng = np.random.default_rng(0)
    available = RowSet(sampler.mask, n_obs)
    ideal = [available.at(_draw(len(available), len(rows), rng)) for rows in batches]

    rows = np.concatenate(batches + ideal)
    values = table.column(column).array(rows_by_dataset(rows, datasets.starts), len(rows))
    labels = np.unique(values.astype(str) if values.dtype == object else values, return_inverse=True)[1]
    chunk_size = int(sampler.identity().get("chunk_size", 1))  # a user's own sampler may not have chunks
    edges = np.cumsum([len(rows) for rows in batches + ideal])[:-1]
    entropies = [_entropy(part) for part in np.split(labels, edges)]
    chunks = [_effective_number(part // chunk_size) for part in batches + ideal]
    own = len(batches)
    return Diversity(
        column=column,
        n_batches=own,
        entropy=float(np.mean(entropies[:own])),
        ideal_entropy=float(np.mean(entropies[own:])),
        chunk_size=chunk_size,
        source_chunks=float(np.mean(chunks[:own])),
        ideal_source_chunks=float(np.mean(chunks[own:])),
        attached=reads_attached_stores(loader),
    )


def _draw(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows drawn uniformly, each once where there are as many."""
    return rng.choice(n, size=size, replace=size > n, shuffle=False)


def _shares(labels: np.ndarray) -> np.ndarray:
    counts = np.unique(labels, return_counts=True)[1]
    shares: np.ndarray = counts / len(labels)
    return shares


def _entropy(labels: np.ndarray) -> float:
    shares = _shares(labels)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _effective_number(labels: np.ndarray) -> float:
    return float(1 / (_shares(labels) ** 2).sum())
