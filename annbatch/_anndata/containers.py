"""What a dataset is made of: elements by key, in memory, backed, lazily read or stored; one container a kind.

A key is where an element lies in an AnnData: ``X``, ``layers/counts``, ``obsm/X_pca``, ``obs``. In a MuData the
elements of a modality begin with its place: ``mod/rna/X``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from .._arrays import RowSource, open_rows
from .._arrays.open import open_array
from .._arrays.values import HeldValues, StoredValues
from .table import LazyFrame, MemoryFrame, ObsFrame, stored_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData

    from .columns import Values

MODALITIES = "mod/"


class Container(Protocol):
    """X, layers, obsm, obs and var that share rows."""

    n_obs: int

    @property
    def kind(self) -> type:
        """Type of X, or of the whole where there is none."""

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of X and layers."""

    def elements(self) -> list[str]:
        """Return the keys of what there is to open."""

    def has(self, key: str) -> bool:
        """Say whether there is an element, without listing all."""

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element; nothing of its rows is read yet."""


class BareMatrix:
    """A matrix that the user gave with or without annotations."""

    def __init__(self, matrix: Any, obs: pd.DataFrame | None, var: pd.DataFrame | None) -> None:
        for name, frame in (("obs", obs), ("var", var)):
            if frame is not None and not isinstance(frame, pd.DataFrame):
                raise TypeError(f"`{name}` must be a pandas DataFrame or None, got {type(frame).__name__}.")
        self._source = open_rows(matrix)
        self.n_obs = self._source.shape[0]
        self.kind = type(matrix)
        if obs is not None and len(obs) != self.n_obs:
            raise ValueError(f"`obs` must have one row a row of the matrix ({self.n_obs}), got {len(obs)}.")
        self._obs = obs
        self.var = var

    def elements(self) -> list[str]:
        """Return the keys of what there is to open."""
        return ["X"] if self._obs is None else ["X", "obs"]

    def has(self, key: str) -> bool:
        """Say whether there is an element."""
        return key in self.elements()

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        if key == "X":
            return self._source
        assert self._obs is not None
        return MemoryFrame(self._obs)


class Annotated:
    """An AnnData object: in memory, backed by a file, or lazily read. ``obs`` without columns counts as none.

    Parameters
    ----------
    adata
        The object.
    adopt
        Takes each matrix that is opened, and returns what is read in its place.
    """

    _matrix: tuple[str, ...] = (
        "X",
    )  # also where it is None: the error that says so is better than that there is no such element

    def __init__(self, adata: AnnData, adopt: Callable[[Any], Any]) -> None:
        self._adata = adata
        self._adopt = adopt
        self.n_obs = int(adata.n_obs)

    @property
    def kind(self) -> type:
        """Type of X."""
        return type(self._adata.X)

    @property
    def var(self) -> pd.DataFrame | None:
        """Annotations of the columns of X and layers."""
        return in_memory(self._adata.var)

    def elements(self) -> list[str]:
        """Return the keys of what there is to open."""
        adata = self._adata
        places = (("layers", adata.layers), ("obsm", adata.obsm)) if self._matrix else (("obsm", adata.obsm),)
        # From anndata 0.13 on, X stands among the layers too, as None.
        named = [f"{place}/{key}" for place, elements in places for key in elements if key is not None]
        return [*self._matrix, *named, *(["obs"] if len(adata.obs.columns) else [])]

    def has(self, key: str) -> bool:
        """Say whether there is an element."""
        return key in self.elements()

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        place, _, name = key.partition("/")
        value = getattr(self._adata, place)
        if name:
            value = value[name]
        if isinstance(value, pd.DataFrame):
            return MemoryFrame(value)
        if hasattr(value, "true_index"):
            return LazyFrame(value)
        return open_rows(self._adopt(value), name=key)


class SharedRows(Annotated):
    """What a MuData object has beside its modalities: obs and obsm."""

    _matrix = ()

    @property
    def kind(self) -> type:
        """Type of the whole."""
        return type(self._adata)

    @property
    def var(self) -> None:
        """There is none: each modality has its own."""
        return


class Stored:
    """A stored AnnData group, of zarr or HDF5; ``obs`` without columns counts as none."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self._obs = stored_frame(group["obs"])
        self.n_obs = self._obs.n_rows

    @property
    def kind(self) -> type:
        """Type of X, or of the whole where there is none."""
        return type(self._group.get("X", self._group))

    @property
    def var(self) -> pd.DataFrame:
        """Annotations of the columns of X and layers."""
        from anndata.io import read_elem

        frame: pd.DataFrame = read_elem(self._group["var"])
        return frame

    def elements(self) -> list[str]:
        """Return the keys of what there is to open."""
        group = self._group
        named = [f"{place}/{key}" for place in ("layers", "obsm") if place in group for key in sorted(group[place])]
        return [*(["X"] if "X" in group else []), *named, *(["obs"] if self._obs.columns else [])]

    def has(self, key: str) -> bool:
        """Say whether there is an element."""
        if key == "obs":
            return bool(self._obs.columns)
        return key.partition("/")[0] in ("X", "layers", "obsm") and key in self._group

    def open(self, key: str) -> RowSource | ObsFrame:
        """Open one element."""
        if key == "obs":
            return self._obs
        element = self._group[key]
        if element.attrs.get("encoding-type") == "dataframe":
            return stored_frame(element)
        return open_rows(element, name=key)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a loader.

    Attributes
    ----------
    parts
        Its containers by the beginning of their elements' keys: ``""``, and those of the modalities beside it.
    rows
        Which row of a modality each row of the dataset is, -1 where the modality lacks it; by the same beginnings.
    """

    parts: Mapping[str, Container]
    rows: Mapping[str, Values]

    @staticmethod
    def of(container: Container) -> Dataset:
        """Return a dataset of one container."""
        return Dataset({"": container}, {})

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.parts[""].n_obs

    @property
    def modalities(self) -> list[str]:
        """What the keys of each modality begin with."""
        return [prefix for prefix in self.parts if prefix]

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        return [prefix + key for prefix, part in self.parts.items() for key in part.elements()]


def split_key(key: str) -> tuple[str, str]:
    """Return the beginning of a key that names the modality, if any, and the rest: ``("mod/rna/", "X")``."""
    if not key.startswith(MODALITIES):
        return "", key
    place, _, rest = key[len(MODALITIES) :].partition("/")
    return f"{MODALITIES}{place}/", rest


def path_of(key: str) -> tuple[str, ...]:
    """Return the names under which a batch holds an element, outermost first."""
    prefix, rest = split_key(key)
    place, _, name = rest.partition("/")
    return (*prefix.split("/")[:-1], place, *([name] if name else []))


def has_var_axis(key: str) -> bool:
    """Say whether an element's columns are those of ``var``: X's and layers' are, and only theirs."""
    return split_key(key)[1].partition("/")[0] in ("X", "layers")


def multimodal(mdata: Any, adopt: Callable[[Any], Any]) -> Dataset:
    """Return the dataset that a MuData object is; ``adopt`` is as for :class:`Annotated`."""
    _check_axis(mdata.axis)
    parts: dict[str, Container] = {"": SharedRows(mdata, adopt)}
    rows: dict[str, Values] = {}
    for name, adata in mdata.mod.items():
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = Annotated(adata, adopt)
        rows[prefix] = ObsMap(HeldValues(np.asarray(mdata.obsmap[name]).reshape(-1)))
    return Dataset(parts, rows)


def stored_multimodal(group: Any) -> Dataset:
    """Return the dataset that a stored MuData group is; rows are found by ``obsmap``, or else by their names."""
    _check_axis(group.attrs.get("axis", 0))
    parts: dict[str, Container] = {"": Stored(group)}
    rows: dict[str, Values] = {}
    modalities = group["mod"]
    for name in map(str, modalities.attrs.get("mod-order", sorted(modalities))):
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = Stored(modalities[name])
        if "obsmap" in group and name in group["obsmap"]:
            rows[prefix] = ObsMap(StoredValues(open_array(group["obsmap"][name], name=f"obsmap/{name}")))
        else:
            every, own = (pd.Index(stored_frame(one["obs"]).read_names()) for one in (group, modalities[name]))
            rows[prefix] = HeldValues(own.get_indexer(every))
    return Dataset(parts, rows)


def is_multimodal(group: Any) -> bool:
    """Say whether a stored group is a MuData."""
    return bool(group.attrs.get("encoding-type") == "MuData" or "mod" in group)


class ObsMap:
    """MuData's ``obsmap``: 1 + the number of the modality's row, 0 where it lacks the row."""

    def __init__(self, values: Values) -> None:
        self.dtype = np.dtype(np.int64)
        self._values = values

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the modality's row for each of ``at``, -1 for none."""
        return self._values.take(at).astype(np.int64) - 1


def _check_axis(axis: int) -> None:
    if axis != 0:
        raise ValueError(f"`axis` of a MuData must be 0, so that modalities share rows, got {axis}.")


def in_memory(table: Any) -> pd.DataFrame:
    """Return a DataFrame, loading one that was read lazily."""
    if isinstance(table, pd.DataFrame):
        return table
    frame: pd.DataFrame = table.to_memory()
    frame.index = pd.Index(np.asarray(table.true_index))
    return frame
