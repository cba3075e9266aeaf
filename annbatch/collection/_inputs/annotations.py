"""Annotations of an input's variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from typing import Any

    import numpy as np


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotations of an input's variables, and of the data as a whole."""

    var: pd.DataFrame
    varm: dict[str, Any] = field(default_factory=dict)
    varp: dict[str, Any] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)

    def equals(self, other: Annotations) -> bool:
        """Return whether both have the same ``var`` and nothing else, so that one can replace the other."""
        rest = (self.varm, self.varp, self.uns, other.varm, other.varp, other.uns)
        return not any(rest) and self.var.equals(other.var) and self.var.index.equals(other.var.index)

    def take(self, columns: np.ndarray) -> Annotations:
        """Return the annotations of the given columns, in that order."""
        varm = {
            key: value.iloc[columns] if isinstance(value, pd.DataFrame) else value[columns]
            for key, value in self.varm.items()
        }
        varp = {key: value[columns][:, columns] for key, value in self.varp.items()}
        return Annotations(self.var.iloc[columns], varm, varp, self.uns)
