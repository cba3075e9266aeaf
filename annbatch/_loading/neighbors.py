"""Neighbours of a batch's rows: found in a graph while its window is planned, and read in the same window."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from .._arguments import check_choice, did_you_mean, drawn_seed, whole
from .._plan.window_rows import plan_window, rows_by_dataset

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .._anndata.dataset import Dataset
    from .._anndata.graphs import RowGraph
    from ..types import LoadRequest

NEIGHBORS = "neighbors"
"""Name of the part of a batch."""

NeighborChoice: TypeAlias = Literal["largest", "smallest", "random"]


@dataclass(frozen=True, slots=True)
class NeighborRequest:
    """The neighbours that a loader was asked for; see its parameters.

    Attributes
    ----------
    name
        Name of the graph.
    count
        Neighbours per row.
    choice
        Which of a row's neighbours: those with the largest or smallest weights, or any.
    seed
        Number on which a random choice depends where the order of rows needs no seed.
    """

    name: str
    count: int
    choice: NeighborChoice
    seed: int

    @staticmethod
    def of(name: Any, count: int, choice: NeighborChoice, *, rng: Any, seed: int | None) -> NeighborRequest | None:
        """Return the request of a loader's arguments; None if no neighbours are wanted."""
        count = whole(count, "n_neighbors", least=1)
        check_choice("neighbor_choice", choice, get_args(NeighborChoice))
        if name is not None and not isinstance(name, str):
            raise TypeError(f"`neighbors` must be the name of a graph in obsp, got {name!r}.")
        if name is None:
            return None
        return NeighborRequest(name, count, choice, (drawn_seed(rng, seed) or 0) if choice == "random" else 0)

    def open(self, dataset: Dataset) -> RowGraph:
        """Open the graph of a dataset.

        Raises
        ------
        KeyError
            If it has none of that name.
        ValueError
            If its graph is not of rows by rows.
        """
        part = dataset.parts[""]
        graph = part.graph(self.name)
        if graph is None:
            there = part.graphs()
            mean = did_you_mean([self.name], there)
            raise KeyError(
                f"`neighbors` must name a graph in obsp of all datasets, or one that a conversion kept (`obsp`), got "
                f"{self.name!r}{mean}{'?' if mean else '.'} {part.place or 'The object'} has {there}."
            )
        shape, n_obs = graph.source.shape, part.n_obs
        if shape[0] != n_obs or (graph.first_row is None and shape[1] != n_obs):
            raise ValueError(f"`neighbors` must be a graph of {n_obs} rows, one per row of obs, got shape {shape}.")
        return graph


class NeighborGraph:
    """The graph of all rows of a loader.

    Parameters
    ----------
    request
        What of it is wanted.
    graphs
        One per dataset.
    starts
        ``(n_datasets + 1,)`` first row of each dataset, and the total.

    Raises
    ------
    ValueError
        If the neighbours of rows are rows of a collection that the loader does not have, or not at their places.
    """

    def __init__(self, request: NeighborRequest, graphs: list[RowGraph], starts: np.ndarray) -> None:
        self.request, self._graphs, self._starts = request, graphs, starts
        for number, graph in enumerate(graphs):
            start, n_obs, width = int(starts[number]), int(starts[-1]), graph.source.shape[1]
            if graph.first_row is not None and (graph.first_row != start or width > n_obs):
                raise ValueError(
                    f"`neighbors` needs all datasets of a collection, in order and before other data: dataset {number} "
                    f"begins with row {graph.first_row} of {width} rows at least, and is added as row {start} of "
                    f"{n_obs}."
                )

    def of_rows(self, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the neighbours of rows, on this thread.

        Parameters
        ----------
        rows
            ``(n,)`` int64 global row numbers, ascending, each once.
        seed
            Number, below 2**64, on which a random choice depends.

        Returns
        -------
        numpy.ndarray, numpy.ndarray
            ``(n, count)`` int64 global row numbers, -1 where a row has no more neighbours; float32 weights, 0 there.
        """
        shape = len(rows), self.request.count
        neighbors, weights = np.full(shape, -1, np.int64), np.zeros(shape, np.float32)
        for share in rows_by_dataset(rows, self._starts):
            found = self._of_dataset(share.dataset, share.rows, seed)
            neighbors[share.positions], weights[share.positions] = found
        return neighbors, weights

    def _of_dataset(self, dataset: int, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        from .._kernels.neighbors import choose_neighbors

        graph, start = self._graphs[dataset], int(self._starts[dataset])
        source = graph.source
        first, length = source.extents(rows)
        pieces = source.pieces(rows, first, length, np.cumsum(length) - length)
        values, columns, _, _ = source.pair.read_rows(pieces)
        columns = columns.astype(np.int64) + (start if graph.first_row is None else 0)
        rows = rows + start
        match self.request.choice:
            case "largest":
                keys = values.astype(np.float64)
            case "smallest":
                keys = -values.astype(np.float64)
            case "random":
                keys = random_keys(seed, np.repeat(rows, length), columns)
        keys = np.where(np.isnan(keys), -np.inf, keys)
        indptr = np.concatenate([[0], np.cumsum(length)])
        chosen = np.empty((len(rows), self.request.count), np.int64)
        choose_neighbors(keys, columns, indptr, rows, chosen)
        is_there = chosen >= 0
        at = chosen[is_there]
        neighbors, weights = np.full(chosen.shape, -1, np.int64), np.zeros(chosen.shape, np.float32)
        neighbors[is_there], weights[is_there] = columns[at], values[at]
        return neighbors, weights

    def join(self, requests: Iterator[LoadRequest], seed: int) -> Generator[LoadRequest, None, None]:
        """Yield requests that read the neighbours of their rows, too."""
        for request in requests:
            yield self._joined(request, seed)

    def _joined(self, request: LoadRequest, seed: int) -> LoadRequest:
        planned = plan_window(request, int(self._starts[-1]))
        if NEIGHBORS in planned.partners or NEIGHBORS in planned.extras:
            raise ValueError(f"`neighbors` needs a sampler whose batches have no {NEIGHBORS!r} of their own.")
        parts, per_batch = [np.arange(a, b) for a, b in pairwise(planned.edges)], 1 + len(planned.partners)
        batches = [planned.rows[part] for part in parts[::per_batch]]
        rows = np.unique(np.concatenate([np.empty(0, np.int64), *batches]))
        neighbors, weights = self.of_rows(rows, seed)
        at = [np.searchsorted(rows, batch) for batch in batches]
        index = [neighbors[one] for one in at]
        masks = [one >= 0 for one in index]
        # A row stands in for the neighbours that it lacks: there is something to read, and all batches have one shape.
        read = [np.where(mask, one, batch[:, None]) for mask, one, batch in zip(masks, index, batches, strict=True)]
        edges = len(planned.rows) + np.cumsum([0, *(one.size for one in read)])
        partners = {name: parts[1 + i :: per_batch] for i, name in enumerate(planned.partners)}
        partners[NEIGHBORS] = [np.arange(a, b) for a, b in pairwise(edges)]
        extras = {name: list(arrays) for name, arrays in planned.extras.items()} | {
            f"{NEIGHBORS}/index": index,
            f"{NEIGHBORS}/mask": masks,
            f"{NEIGHBORS}/weights": [weights[one] for one in at],
        }
        everything = np.concatenate([planned.rows, *(one.reshape(-1) for one in read)])
        return {"requests": everything, "splits": parts[::per_batch], "partners": partners, "extras": extras}


def random_keys(seed: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return a random number in ``0..1`` for each pair, a function of the seed, the row and the column alone.

    The mixing function of SplitMix64 (Steele, Lea and Flood 2014), applied to the seed, then the row, then the column.
    """
    word = _mixed(np.full(1, seed, np.uint64))
    for numbers in (rows, columns):
        word = _mixed(word + numbers.astype(np.uint64))
    return np.ldexp((word >> np.uint64(11)).astype(np.float64), -53)


def _mixed(word: np.ndarray) -> np.ndarray:
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return word
