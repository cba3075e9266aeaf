"""What a loader is asked to yield of its datasets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._anndata.variables import JOINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from .._elements.staged import Staging
    from ..transforms import Transform


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the datasets a loader yields.

    Attributes
    ----------
    keys
        Elements.
    obs_columns
        Columns of ``obs``; None for all.
    obs_join
        See :class:`~annbatch._obs.ObsTable`.
    var_names
        Columns of X and layers; None for all. Where there are modalities, by modality.
    var_join
        See :func:`~annbatch._variables.join_variables`.
    dtype
        Of X's and layers' values in batches; None for what the data had.
    densify
        Whether sparse X and layers are made dense as they are decoded.
    transform
        Changes the values of X and layers; None for none.
    staging
        Makes sparse X and layers dense on a device; None: not so.
    """

    keys: tuple[str, ...] = ("X", "obs")
    obs_columns: list[str] | None = None
    obs_join: str = "exact"
    var_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    var_join: str = "exact"
    dtype: np.dtype | None = None
    densify: bool = False
    transform: Transform | None = None
    staging: Staging | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("`keys` must name at least one element, got none.")
        repeated = sorted({key for key in self.keys if self.keys.count(key) > 1})
        if repeated:
            raise ValueError(f"`keys` must name each element once, got {repeated} twice.")
        for name, join in (("var_join", self.var_join), ("obs_join", self.obs_join)):
            if join not in JOINS:
                raise ValueError(f"`{name}` must be one of {', '.join(JOINS)}, got {join!r}.")
