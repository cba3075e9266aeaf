"""Annotations of an input's variables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


RAW = "raw/X"
"""The one element whose columns are other variables than those of ``X``."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotations of an input's variables, and of the data as a whole; ``raw`` has variables of its own."""

    var: pd.DataFrame
    varm: dict[str, Any] = field(default_factory=dict)
    varp: dict[str, Any] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)
    raw: Annotations | None = None

    def equals(self, other: Annotations) -> bool:
        """Return whether both have the same ``var`` and nothing else, so that one can replace the other."""
        if any((self.varm, self.varp, self.uns, other.varm, other.varp, other.uns)):
            return False
        if self.raw is not None and other.raw is not None and not self.raw.equals(other.raw):
            return False
        same = self.var.equals(other.var) and self.var.index.equals(other.var.index)
        return same and (self.raw is None) == (other.raw is None)

    def names_for(self, path: str) -> pd.Index | None:
        """Return the names of the columns of the element at ``path``; None if it has no variables."""
        if path.startswith("obsm/"):
            return None
        return self.var.index if path != RAW else self.raw.var.index if self.raw is not None else None

    def renamed(self, names: pd.Index) -> Annotations:
        """Return the annotations with other names of the variables."""
        varm = {k: v.set_axis(names) if isinstance(v, pd.DataFrame) else v for k, v in self.varm.items()}
        return replace(self, var=self.var.set_axis(names), varm=varm)

    def take(self, columns: np.ndarray) -> Annotations:
        """Return the annotations of the given columns, in that order."""
        varm = {
            key: value.iloc[columns] if isinstance(value, pd.DataFrame) else value[columns]
            for key, value in self.varm.items()
        }
        varp = {key: value[columns][:, columns] for key, value in self.varp.items()}
        return Annotations(self.var.iloc[columns], varm, varp, self.uns, self.raw)
