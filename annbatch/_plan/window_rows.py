"""Plan where each row of a window comes from and where it goes: integers only, no I/O.

A window is the rows of one load request, in the order in which batches yield them. Shuffling happens here: each row is
written once, to its final place, when it is read.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .ranges import concatenated_ranges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..types import LoadRequest

TAKEN = {"X", "obs", "var", "index", "labels", "tokens", "layers", "obsm", "mod", "source", "covariates"}
"""Names of what batches hold anyway."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window, in batch order.

    Attributes
    ----------
    rows
        ``(n_rows,)`` int64 global row numbers.
    edges
        ``(n_parts + 1,)`` int64; part ``i`` is ``rows[edges[i]:edges[i + 1]]``. A batch is one part, and one more for
        each of its partners, in their order. Elements call a part a batch: they treat all alike.
    partners
        Names of the parts that come with each batch.
    extras
        Further arrays of the batches, by name.
    """

    rows: np.ndarray
    edges: np.ndarray
    partners: tuple[str, ...] = ()
    extras: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)

    @property
    def n_parts(self) -> int:
        """Number of parts, of all batches."""
        return len(self.edges) - 1

    @property
    def n_batches(self) -> int:
        """Number of batches."""
        return self.n_parts // (1 + len(self.partners))


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """The rows of a window that lie in one dataset, ascending, so that the disk is read in order.

    Attributes
    ----------
    dataset
        Number of the dataset.
    rows
        ``(n,)`` int64 row numbers in the dataset, ascending; a row may repeat.
    positions
        ``(n,)`` int64 positions in the window.
    """

    dataset: int
    rows: np.ndarray
    positions: np.ndarray


def n_requested(requests: Sequence[slice] | np.ndarray) -> int:
    """Return the number of rows in the requests of one window."""
    if isinstance(requests, np.ndarray):
        return len(requests)
    return sum(request.stop - request.start for request in requests)


def plan_window(request: LoadRequest, n_obs: int) -> WindowRows:
    """Convert a sampler's request to global rows in batch order.

    Raises
    ------
    ValueError
        If a request lies outside ``0..n_obs``, a slice has a step, or a split points outside the requests.
    """
    requests = request["requests"]
    if isinstance(requests, np.ndarray):
        if not np.issubdtype(requests.dtype, np.integer):
            raise ValueError(f"`requests` must be integers or slices, got dtype {requests.dtype}.")
        requested = requests.astype(np.int64, copy=False)
    else:
        for item in requests:
            if item.step not in (None, 1):
                raise ValueError(f"`requests` must be slices with step 1, got {item}.")
        requested = concatenated_ranges([r.start for r in requests], [r.stop - r.start for r in requests])
    if requested.size and not (requested.min() >= 0 and requested.max() < n_obs):
        raise ValueError(
            f"`requests` must lie within the loader's 0..{n_obs} rows, got {requested.min()}..{requested.max()}."
        )
    splits, partners, extras = _parts(request)
    edges = np.zeros(len(splits) + 1, dtype=np.int64)
    np.cumsum([len(split) for split in splits], out=edges[1:])
    order = _concatenated(splits, "splits")
    if order.size and not (order.min() >= 0 and order.max() < requested.size):
        raise ValueError(
            f"`splits` must be positions within the {requested.size} requested rows, got {order.min()}..{order.max()}."
        )
    return WindowRows(requested[order], edges, partners, extras)


def _parts(request: LoadRequest) -> tuple[list[np.ndarray], tuple[str, ...], Mapping[str, list[np.ndarray]]]:
    """Return the parts of all batches, one batch after the other, the names of partners, and the extras."""
    splits, partners, extras = request["splits"], request.get("partners", {}), request.get("extras", {})
    for kind, of_batches in (("partners", partners), ("extras", extras)):
        if not hasattr(of_batches, "items"):
            raise TypeError(f"`{kind}` must be a dict by name, got {type(of_batches).__name__}.")
        for name, arrays in of_batches.items():
            if not isinstance(name, str) or not name or name in TAKEN or (kind == "partners" and "/" in name):
                raise ValueError(f"`{kind}` must have names, other than those of what batches hold, got {name!r}.")
            if len(arrays) != len(splits):
                n = len(splits)
                raise ValueError(f"`{kind}` must have an array per batch, {n} in all, got {len(arrays)} of {name!r}.")
            if kind == "partners":
                _concatenated(arrays, f"partners[{name!r}]")
    if both := partners.keys() & extras.keys():
        raise ValueError(f"`partners` and `extras` must have different names, got {min(both)!r} in both.")
    of_batch = zip(splits, *partners.values(), strict=True)
    return [part for parts in of_batch for part in parts], tuple(partners), extras


def _concatenated(arrays: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Return arrays of positions as one; of other kinds than a sampler may yield, none is taken for another."""
    try:
        joined = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` must be one-dimensional arrays of integers: {error}.") from None
    if joined.ndim != 1 or (joined.size and joined.dtype.kind not in "iu"):
        raise ValueError(
            f"`{name}` must be one-dimensional arrays of integers, got {joined.dtype} of {joined.ndim} dimensions."
        )
    return joined.astype(np.int64, copy=False)


def rows_by_dataset(rows: np.ndarray, dataset_starts: np.ndarray) -> list[DatasetRows]:
    """Group a window's rows by the datasets that hold them.

    Parameters
    ----------
    rows
        ``(n_rows,)`` global row numbers in window order.
    dataset_starts
        ``(n_datasets + 1,)`` first global row of each dataset, then the total.
    """
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    cuts = np.searchsorted(ascending, dataset_starts)
    return [
        DatasetRows(dataset, ascending[a:b] - dataset_starts[dataset], order[a:b])
        for dataset, (a, b) in enumerate(itertools.pairwise(cuts))
        if a < b
    ]
