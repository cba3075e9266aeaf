"""Containers of elements by key, one per kind: in memory, backed, lazy or stored.

A key is the path of an element within an AnnData: ``X``, ``layers/counts``, ``obsm/X_pca``, ``obs``. In a MuData, the
keys of a modality begin with its prefix: ``mod/rna/X``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from .._arrays.open import RowSource, open_rows
from .._format.attributes import FIRST_ROW_ATTRIBUTE, encoding_of, where
from ..errors import reading, reading_object
from .backed import anchor_backed
from .frames import LazyFrame, MemoryFrame, ObsFrame, in_memory, is_lazy, read_var, stored_frame
from .graphs import RowGraph

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData


class Container(Protocol):
    """X, layers, obsm, obs and var that share rows."""

    n_obs: int
    place: str
    """File or store that holds it, for errors; empty for objects in memory."""

    @property
    def kind(self) -> type:
        """Type of X, or of the whole object if there is none."""

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of X and layers."""

    def elements(self) -> list[str]:
        """Return the keys of all elements."""

    def has(self, key: str) -> bool:
        """Return whether there is an element, without listing all of them."""

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element, without reading any of its rows."""

    def graph(self, name: str) -> RowGraph | None:
        """Open a graph of its rows, without reading any; None if it has none of that name."""

    def graphs(self) -> list[str]:
        """Return the names of all matrices that may be graphs of its rows."""


class BareMatrix:
    """A matrix, with or without annotations."""

    place = ""

    def __init__(self, matrix: Any, obs: pd.DataFrame | None, var: pd.DataFrame | None) -> None:
        for name, frame in (("obs", obs), ("var", var)):
            if frame is not None and not isinstance(frame, pd.DataFrame):
                raise TypeError(f"`{name}` must be a pandas DataFrame or None, got {type(frame).__name__}.")
        self._source = open_rows(matrix)
        self.n_obs = self._source.shape[0]
        self.kind = type(matrix)
        if obs is not None and len(obs) != self.n_obs:
            raise ValueError(f"`obs` must have one row per row of the matrix ({self.n_obs}), got {len(obs)}.")
        self._obs = obs
        self.var = var

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        return ["X"] if self._obs is None else ["X", "obs"]

    def has(self, key: str) -> bool:
        """Return whether there is an element."""
        return key in self.elements()

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        if key == "X":
            return self._source
        assert self._obs is not None
        return MemoryFrame(self._obs, "`obs`")

    def graph(self, name: str) -> None:
        """Return None: a bare matrix has no graphs."""
        return

    def graphs(self) -> list[str]:
        """Return no name."""
        return []


class AnnDataObject:
    """An AnnData object in memory, backed by a file, or lazily read. ``obs`` without columns counts as none.

    Parameters
    ----------
    adata
        Object.
    rebind
        Function that takes each matrix that is opened, and returns what to read instead.
    """

    # X is listed even if it is None: opening it names the reason, which is better than an unknown key.
    _matrix: tuple[str, ...] = ("X",)

    def __init__(self, adata: AnnData, rebind: Callable[[Any], Any]) -> None:
        self._adata = adata
        self._rebind = rebind
        self.place = str(getattr(adata, "filename", None) or "")
        self.n_obs = int(adata.n_obs)
        anchor_backed(adata)

    @property
    def kind(self) -> type:
        """Type of X."""
        return type(self._adata.X)

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of X and layers."""
        return in_memory(self._adata.var)

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        adata = self._adata
        groups = (("layers", adata.layers), ("obsm", adata.obsm)) if self._matrix else (("obsm", adata.obsm),)
        # From anndata 0.13 on, layers contain X too, with the key None.
        named = [f"{group}/{key}" for group, elements in groups for key in elements if key is not None]
        return [*self._matrix, *named, *(["obs"] if len(adata.obs.columns) else [])]

    def has(self, key: str) -> bool:
        """Return whether there is an element."""
        return key in self.elements()

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        attribute, _, name = key.partition("/")
        with reading_object(self._adata, f"`{key}` of {self.place or 'an AnnData object'}"):
            value = getattr(self._adata, attribute)
            if name:
                value = next(each for key, each in value.items() if str(key) == name)  # in memory a key may be a number
        if isinstance(value, pd.DataFrame):
            return MemoryFrame(value, f"`{key}`")
        if is_lazy(value):
            return LazyFrame(value)
        return open_rows(self._rebind(value), name=key)

    def graph(self, name: str) -> RowGraph | None:
        """Open a graph of its rows; None if it has none of that name."""
        for attribute in ("obsm", "obsp"):
            key, held = f"{attribute}/{name}", getattr(self._adata, attribute)
            if name in held:
                with reading_object(self._adata, f"`{key}` of {self.place or 'an AnnData object'}"):
                    value = held[name]
                graph = RowGraph.of(key, value, self._rebind)
                if graph is not None:
                    return graph
        return None

    def graphs(self) -> list[str]:
        """Return the names in ``obsp``."""
        return sorted(self._adata.obsp)


class MuDataObject(AnnDataObject):
    """A MuData object without its modalities: obs and obsm."""

    _matrix = ()

    @property
    def kind(self) -> type:
        """Type of the object."""
        return type(self._adata)

    @property
    def var(self) -> None:
        """None: each modality has its own."""
        return


class StoredAnnData:
    """A stored AnnData, as a zarr or HDF5 group; ``obs`` without columns counts as none."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.place = where(group)
        with reading(self.place):
            self._obs = stored_frame(group["obs"])
        self.n_obs = self._obs.n_rows

    @property
    def kind(self) -> type:
        """Type of X, or of the whole object if there is none."""
        with reading(self.place):
            return type(self._group.get("X", self._group))

    @property
    def var(self) -> pd.DataFrame:
        """Annotations of the columns of X and layers."""
        with reading(where(self._group)):
            return read_var(self._group["var"])

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        group = self._group
        with reading(where(group)):
            groups = [name for name in ("layers", "obsm") if hasattr(group.get(name), "keys")]
            named = [f"{name}/{key}" for name in groups for key in sorted(group[name])]
            return [*(["X"] if "X" in group else []), *named, *(["obs"] if self._obs.columns else [])]

    def has(self, key: str) -> bool:
        """Return whether there is an element."""
        if key == "obs":
            return bool(self._obs.columns)
        with reading(f"`{key}` of {where(self._group)}"):
            return key.partition("/")[0] in ("X", "layers", "obsm") and key in self._group

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        if key == "obs":
            return self._obs
        with reading(f"`{key}` of {where(self._group)}"):
            element = self._group[key]
            if encoding_of(element) == "dataframe":
                return stored_frame(element)
            return open_rows(element, name=key, is_finished=True)

    def graph(self, name: str) -> RowGraph | None:
        """Open a graph of its rows; None if it has none of that name."""
        for key in (f"obsm/{name}", f"obsp/{name}"):
            with reading(f"`{key}` of {where(self._group)}"):
                graph = RowGraph.of(key, self._group[key], lambda matrix: matrix) if key in self._group else None
            if graph is not None:
                return graph
        return None

    def graphs(self) -> list[str]:
        """Return the names of all matrices that may be graphs of its rows."""
        group = self._group
        with reading(where(group)):
            in_obsm = [key for key in group.get("obsm", ()) if FIRST_ROW_ATTRIBUTE in group["obsm"][key].attrs]
            return sorted([*in_obsm, *group.get("obsp", ())])
