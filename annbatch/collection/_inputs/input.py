"""One open input of a conversion: what can be read of it, by blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .annotations import Annotations
    from .columns import ColumnReader
    from .matrices import MatrixReader


@dataclass(slots=True)
class Input:
    """One open input.

    Attributes
    ----------
    name
        Name of the input in ``src_path`` and in errors.
    n_obs, n_vars, n_raw_vars
        Number of rows, of variables, and of those of ``raw``.
    annotations
        Reads the annotations of the variables: called once per input, not with every range of rows.
    obs_names
        Returns the names of rows ``start:stop``.
    matrices
        Readers of ``X``, ``layers/...``, ``obsm/...`` and ``raw/X``.
    tables
        Readers of the columns of ``obs`` and of those ``obsm/...`` that are data frames.
    index_names
        Name of a table's index; None if it has none.
    pairwise
        Open the readers of the matrices in ``obsp``, by name.
    graphs
        Paths of the ``matrices`` whose columns are rows: of this input, or of the collection that it is a dataset of.
    dropped
        Names of elements that are left out: ``obsp/...``, and ``raw`` if it is not to be kept.
    is_made
        Whether a function of the caller's made it, which may return something else the next time.
    """

    name: str
    n_obs: int
    n_vars: int
    annotations: Callable[[], Annotations]
    obs_names: Callable[[int, int], np.ndarray]
    matrices: dict[str, MatrixReader] = field(default_factory=dict)
    tables: dict[str, dict[str, ColumnReader]] = field(default_factory=dict)
    index_names: dict[str, str] = field(default_factory=dict)
    pairwise: dict[str, Callable[[], MatrixReader]] = field(default_factory=dict)
    graphs: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    n_raw_vars: int = 0
    is_made: bool = False
