"""Annotations of an input's variables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...errors import StoreError

if TYPE_CHECKING:
    from typing import Any


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


def storable(value: Any, where: str) -> Any:
    """Return annotations with nullable arrays for objects some of which are missing: anndata writes text for these.

    Parameters
    ----------
    value
        Data frame, array, or dict of such; anything else is returned as it is.
    where
        Name of it in errors.

    Raises
    ------
    StoreError
        If an array of objects holds anything else than strings, or booleans of which some are missing; or if a key is
        empty.
    """
    if isinstance(value, pd.DataFrame):
        value = value.copy(deep=False)
        objects = [name for name, dtype in value.dtypes.items() if dtype == np.dtype(object)]
        for name in objects if value.columns.is_unique else ():
            value[name] = _nullable(value[name].to_numpy(), f"Column {name!r} of {where}")
        return value
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 1:
        return _nullable(value, where)
    if isinstance(value, dict):
        if "" in value:  # zarr would write it in place of the group
            raise StoreError(f"{where} must have keys of at least one character, got '': rename it with `load_adata`.")
        return {key: storable(one, f"{where}[{key!r}]") for key, one in value.items()}
    return value


def _nullable(values: Any, where: str) -> Any:
    make: Any = pd.array
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind not in ("string", "boolean", "empty"):
        raise StoreError(
            f"{where} must hold numbers, booleans, strings or categories, got {kind} in an array of objects: convert "
            "or remove it with `load_adata`."
        )
    missing = pd.isna(values)
    if kind == "boolean":
        return make(values, dtype="boolean") if missing.any() else np.asarray(values, dtype=bool)
    return make(np.where(missing, np.array(None), values), dtype=pd.StringDtype()) if missing.any() else values
