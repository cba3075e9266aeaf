"""The shapes of what goes into a :class:`~annbatch.Loader` and what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class LoadRequest(TypedDict):
    """What a sampler asks for: rows to hold in memory together, and how they split into batches.

    Attributes
    ----------
    requests
        The rows of one window: slices of global row numbers, or one array of them. They need not be sorted,
        and may repeat.
    splits
        One integer array a batch: positions in the concatenation of ``requests``, in the order given. Rows
        that no split names are not read; a position may stand in several. Where it is absent, ``sample`` of
        :class:`annbatch.abc.Sampler` fills it in from ``batch_size`` and ``shuffle``.
    """

    requests: list[slice] | np.ndarray
    splits: NotRequired[list[np.ndarray]]


class LoaderOutput(TypedDict):
    """One batch, as :class:`annbatch.Loader` yields it.

    Attributes
    ----------
    X
        The rows: an array or a CSR matrix of the framework that ``to`` names. Absent where ``keys`` leave it out.
    obs
        Their annotations, in the same order, or None where the data has none.
    var
        The columns' annotations, or None; the same object in every batch.
    index
        ``(n_rows,)`` int64 global row numbers, or None without ``return_index``.
    layers, obsm
        By name, as ``keys`` of the loader ask for them.
    mod
        Of a MuData: by modality, a dict of ``X``, ``layers``, ``obsm``, ``obs``, ``var`` and ``mask``: ``(n_rows,)``
        bool, whether the modality has the row. Elements of rows that it lacks are zero, empty or missing.
    """

    X: Any
    obs: pd.DataFrame | None
    var: pd.DataFrame | None
    index: np.ndarray | None
    layers: NotRequired[dict[str, Any]]
    obsm: NotRequired[dict[str, Any]]
    mod: NotRequired[dict[str, dict[str, Any]]]
