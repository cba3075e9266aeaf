"""Choose chunks and windows for a collection, a batch size and the available memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._anndata.frames import stored_frame
from .._arguments import wrong_kind
from .._format.attributes import DTYPE_ATTRIBUTE, encoding_of
from .._plot import bars
from .._sizes import format_bytes, parse_size
from ..loader import Loader
from ..samplers import RandomSampler
from ..samplers._checks import whole
from ._diversity import ENOUGH_ENTROPY, Diversity, diversity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..collection import DatasetCollection

_CHUNK_SIZES = (512, 256, 128, 64, 32, 16, 8, 4, 2, 1)
_WINDOWS = 3  # in memory: the one in use, the one that is read ahead, and room for batches that are kept
_MOST_LABELS = 1_000  # in a column that is taken for labels


@dataclass(frozen=True, slots=True, repr=False)
class Suggestion:
    """Settings of a loader, and the diversity of its batches.

    Attributes
    ----------
    batch_size, chunk_size, preload_nchunks
        Arguments of :class:`annbatch.Loader`.
    window_bytes
        Size of X in one window.
    diversity
        Diversity for each column of labels.
    """

    batch_size: int
    chunk_size: int
    preload_nchunks: int
    window_bytes: int
    diversity: tuple[Diversity, ...]

    @property
    def arguments(self) -> dict[str, Any]:
        """The settings, as in ``Loader(**suggestion.arguments)``."""
        return {
            "batch_size": self.batch_size,
            "chunk_size": self.chunk_size,
            "preload_nchunks": self.preload_nchunks,
            "shuffle": True,
        }

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.arguments.items())
        rows = self.chunk_size * self.preload_nchunks
        lines = [f"Loader({settings})", f"  windows of {rows:,} rows, {format_bytes(self.window_bytes)}"]
        for one in self.diversity:
            lines.append(f"  {one.share_of_entropy:.1%} of the entropy of {one.column} with uniform sampling")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the entropy of each column of labels, in percent of that of uniform sampling.

        Draws on ``ax``, or on a new figure of matplotlib, and returns the axes.
        """
        percent = {one.column: 100 * one.share_of_entropy for one in self.diversity}
        title = f"chunk_size={self.chunk_size}, preload_nchunks={self.preload_nchunks}"
        return bars(ax, percent, title=title, unit="% of the entropy of uniform sampling", form="{:.1f}", reference=99)


_TO_COLLECTION = {
    "a path": "`DatasetCollection(path, mode='r')` opens one",
    "a group": "`DatasetCollection(group, mode='r')` opens one",
    "a Loader": "give the collection that it loads",
    "an AnnData object": "convert it with `DatasetCollection.add_adatas`",
}


def suggest(
    collection: DatasetCollection, batch_size: int, memory: int | str = "2GB", *, columns: list[str] | None = None
) -> Suggestion:
    """Propose ``chunk_size`` and ``preload_nchunks`` for a shuffled loader.

    Windows are as large as ``memory`` allows, with one in use, one read ahead and room for one more. Chunks, which are
    the faster to read the larger they are, are the largest, up to 512 rows, with which the labels in a batch have 99 %
    of the entropy that uniform sampling gives them; on a well shuffled collection that is any size.

    Parameters
    ----------
    collection
        Collection to load.
    batch_size
        Rows per batch.
    memory
        Bytes for windows (``"2GB"`` or an int).
    columns
        Columns of ``obs`` that have to be mixed; default, all categorical ones of at most 1,000 categories.

    Returns
    -------
    Suggestion
        Its ``repr`` describes the batches; ``Loader(**suggestion.arguments)`` uses it.

    Raises
    ------
    ValueError
        If ``batch_size`` is not positive, the collection is empty, or ``memory`` does not hold three batches.
    """
    if not hasattr(collection, "fingerprint"):
        raise wrong_kind("collection", "a DatasetCollection", collection, _TO_COLLECTION)
    if whole(batch_size, "batch_size") < 1:
        raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
    if collection.is_empty:
        raise ValueError(f"`collection` must have datasets, got an empty one: {collection!r}.")
    bytes_per_row = _bytes_per_row(collection)
    available = parse_size(memory, name="memory", least=1)
    rows = min(int(available / _WINDOWS / bytes_per_row), -(-collection.n_obs // batch_size) * batch_size)
    names = _label_columns(collection) if columns is None else columns
    best: Suggestion | None = None
    for chunk_size in _CHUNK_SIZES:
        step = math.lcm(chunk_size, batch_size)
        if step > rows:
            continue
        preload_nchunks = rows // step * step // chunk_size
        sampler = RandomSampler(chunk_size, preload_nchunks, batch_size, rng=0)
        # Attached stores may differ in variables and columns; only the labels are read.
        loader = Loader(batch_sampler=sampler, keys="obs", obs_columns=names, obs_join="outer")
        with loader.use_collection(collection):
            found = tuple(diversity(loader, name, n_batches=50) for name in names)
        window_bytes = int(chunk_size * preload_nchunks * bytes_per_row)
        one = Suggestion(batch_size, chunk_size, preload_nchunks, window_bytes, found)
        if best is None or _worst(one) > _worst(best):
            best = one
        if _worst(one) >= ENOUGH_ENTROPY:
            break
    if best is None:
        needed = format_bytes(_WINDOWS * batch_size * bytes_per_row)
        raise ValueError(f"`memory` must hold {_WINDOWS} batches of {batch_size} rows, {needed}, got {memory}.")
    return best


def _worst(suggestion: Suggestion) -> float:
    return min((one.share_of_entropy for one in suggestion.diversity), default=1.0)


def _label_columns(collection: DatasetCollection) -> list[str]:
    """Return the categorical columns of obs with more than one category and not too many."""
    frame: Any = next(iter(collection))["obs"]
    found = []
    for name in stored_frame(frame).columns:
        column = frame[name]
        if encoding_of(column) == "categorical" and 1 < column["categories"].shape[0] <= _MOST_LABELS:
            found.append(name)
    return found


def _bytes_per_row(collection: DatasetCollection) -> float:
    """Return the bytes of a row of X in a batch, mean over the collection."""
    n_bytes = 0.0
    for dataset in collection:
        x: Any = dataset["X"]
        if hasattr(x, "shape"):
            dtype = np.dtype(str(x.attrs.get(DTYPE_ATTRIBUTE, x.dtype)))
            n_bytes += math.prod(x.shape) * dtype.itemsize
        else:
            data = x["data"]
            dtype = np.dtype(str(x.attrs.get(DTYPE_ATTRIBUTE, data.dtype)))
            n_bytes += data.shape[0] * (dtype.itemsize + 4)
    return max(1.0, n_bytes / collection.n_obs)
