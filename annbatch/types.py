"""Types of the input and output of a :class:`~annbatch.Loader`, and of what is found out about its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from ._display import Section, Shown, Summary, shown
from ._plot import axes_for, label

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes


BackingArray_T = InputInMemoryArray_T = OutputInMemoryArray_T = Any
"""Arrays that a loader reads, holds and yields, as scverse annbatch names them: any that an adapter knows."""


class LoadRequest(TypedDict):
    """A request of a sampler: rows to hold in memory together, and how they split into batches.

    Attributes
    ----------
    requests
        Rows of one window: slices of global row numbers, or one array of them, in any order and possibly repeated.
    splits
        One integer array per batch: positions in the concatenation of ``requests``, in the order given. Rows
        that no split names are not read; a position may stand in several. Where it is absent, ``sample`` of
        :class:`annbatch.abc.Sampler` fills it in from ``batch_size`` and ``shuffle``.
    partners
        By name, arrays like those of ``splits``, one per batch: rows that are read in the same window and delivered
        within the batch, as ``batch[name]``, in the form of a batch of their own. Needs ``splits``.
    extras
        By name, one array per batch that is delivered as ``batch[name]``, such as a number for each set of its rows.
        Needs ``splits``.
    """

    requests: list[slice] | np.ndarray
    splits: NotRequired[list[np.ndarray]]
    partners: NotRequired[Mapping[str, list[np.ndarray]]]
    extras: NotRequired[Mapping[str, list[np.ndarray]]]


class LoaderOutput(TypedDict):
    """One batch, as :class:`annbatch.Loader` yields it.

    Attributes
    ----------
    X
        Array or CSR matrix of the framework that ``to`` names. Absent if ``keys`` does not list it.
    obs
        Annotations of the rows, in the same order, or None where the data has none.
    var
        Annotations of the columns, or None; the same object in every batch.
    index
        ``(n_rows,)`` int64 global row numbers, or None without ``return_index``.
    labels
        ``(n_rows,)`` integers, where the loader has ``labels``.
    neighbors
        Where the loader has ``neighbors``: what batches hold, of ``n_neighbors`` rows for each row; ``mask``, whether
        each is a neighbour, ``weights``, and ``index``, -1 where there is none: ``(n_rows, n_neighbors)``.
    tokens
        Where the loader has an ``encoder``: a dict of ``ids``, ``values``, ``mask`` and ``length``.
    layers, obsm
        Dicts by name, as the ``keys`` of the loader request.
    mod
        For a MuData: by modality, a dict of ``X``, ``layers``, ``obsm``, ``obs``, ``var`` and ``mask``: ``(n_rows,)``
        bool, whether the modality has the row. Rows that it lacks are zero, empty or missing.
    source
        In batches of :func:`annbatch.mix`: number of the loader that the batch comes from.
    """

    # `| Any` stands for None and for dicts of arrays, which the arguments of a loader choose: checkers complain of
    # neither, and know the methods of data frames. Nothing is NotRequired, which pyright would have programs ask for.
    X: Any
    obs: pd.DataFrame | Any
    var: pd.DataFrame | Any
    index: np.ndarray | Any
    labels: Any
    neighbors: dict[str, Any]
    tokens: dict[str, Any]
    layers: dict[str, Any]
    obsm: dict[str, Any]
    mod: dict[str, dict[str, Any]]
    source: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Statistics(Shown):
    """Statistics of a matrix by columns, by rows and by group of rows, as :func:`annbatch.statistics` returns them.

    Attributes
    ----------
    key
        Key of the matrix.
    genes
        One row per column of the matrix, under the names of ``var``: ``mean``, ``variance`` and ``total``,
        float64, and ``n_nonzero``, int64.
    cells
        One row per row of the matrix, under its row number: ``total`` and ``n_nonzero``.
    groups
        One row per group that has rows, in the order of the categories: ``n_cells``. None without ``groupby``.
    genes_by_group
        ``genes`` of each group, in columns of two and more levels: the statistic, and the labels of the group;
        ``genes_by_group["mean"]`` has one row per column of the matrix, and one column per group. None without
        ``groupby``.
    """

    key: str
    genes: pd.DataFrame
    cells: pd.DataFrame
    groups: pd.DataFrame | Any = None
    genes_by_group: pd.DataFrame | Any = None

    @property
    def share_nonzero(self) -> float:
        """Number of non-zeros by number of values."""
        return float(self.cells["n_nonzero"].sum() / max(1, len(self.cells) * len(self.genes)))

    def __repr__(self) -> str:
        shape = f"{len(self.cells):,} rows x {len(self.genes):,} columns"
        tables = [f"  {name}: {', '.join(getattr(self, name).columns)}" for name in ("genes", "cells")]
        if self.groups is not None:
            by = ", ".join(str(name) for name in self.groups.index.names if name is not None)
            tables.append(f"  groups: {len(self.groups):,}{f' by {shown(by)}' if by else ''}; genes_by_group")
        return "\n".join([f"Statistics of {shown(self.key)}: {shape}, {self.share_nonzero:.1%} not zero", *tables])

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the variance of each column against its mean; counts that vary by chance alone lie on the line.

        Draws on ``ax``, or on a new figure of matplotlib, and returns the axes.
        """
        ax = axes_for(ax, rows=10)
        positive = self.genes[(self.genes["mean"] > 0) & (self.genes["variance"] > 0)]
        ax.scatter(positive["mean"], positive["variance"], s=4, color="C0", rasterized=True)
        if len(positive):
            ends = positive["mean"].min(), positive["mean"].max()
            ax.plot(ends, ends, color="C1", label="variance = mean")
            ax.legend()
        ax.set(xscale="log", yscale="log", xlabel="mean", ylabel="variance", title=label(f"{self.key}, by column"))
        return ax

    def _summary(self) -> Summary:
        tables = {"genes": self.genes, "cells": self.cells, "groups": self.groups}
        heads = [_head(name, table) for name, table in tables.items() if table is not None]
        return Summary(repr(self).splitlines()[0], heads)


def _head(name: str, frame: pd.DataFrame) -> Section:
    """Return the first rows of a table."""
    rows = [[_name(index), *(f"{number:.6g}" for number in row)] for index, *row in frame.head(10).itertuples()]
    corner = ", ".join(str(column) for column in frame.index.names if column is not None)
    return Section(f"{name}: {len(frame):,}, the first {len(rows)}", [[corner, *frame.columns], *rows], opened=True)


def _name(index: Any) -> str:
    return ", ".join(map(str, index)) if isinstance(index, tuple) else str(index)
