"""One dataset of a loader: the elements and annotations of an AnnData, a MuData or a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._arrays.open import open_array
from .._arrays.values import HeldValues, StoredValues
from .containers import Annotated, BareMatrix, SharedRows, StoredAnnData
from .frames import stored_frame
from .keys import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .columns import Values
    from .containers import Container


@dataclass(frozen=True, slots=True)
class Dataset:
    """One dataset of a loader.

    Attributes
    ----------
    parts
        Containers by the prefix of their elements' keys: ``""``, and those of the modalities.
    rows
        The modality's own number of each row, -1 where the modality lacks it; by the same prefixes.
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
        """Prefix of the keys of each modality."""
        return [prefix for prefix in self.parts if prefix]

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        return [prefix + key for prefix, part in self.parts.items() for key in part.elements()]


def multimodal(mdata: Any, rebind: Callable[[Any], Any]) -> Dataset:
    """Return the dataset that a MuData object is; ``rebind`` is as for :class:`Annotated`."""
    _check_axis(mdata.axis)
    parts: dict[str, Container] = {"": SharedRows(mdata, rebind)}
    rows: dict[str, Values] = {}
    for name, adata in mdata.mod.items():
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = Annotated(adata, rebind)
        rows[prefix] = ObsMap(HeldValues(np.asarray(mdata.obsmap[name]).reshape(-1)))
    return Dataset(parts, rows)


def stored_multimodal(group: Any) -> Dataset:
    """Return the dataset that a stored MuData group is; rows are found by ``obsmap``, or else by their names."""
    _check_axis(group.attrs.get("axis", 0))
    parts: dict[str, Container] = {"": StoredAnnData(group)}
    rows: dict[str, Values] = {}
    modalities = group["mod"]
    for name in map(str, modalities.attrs.get("mod-order", sorted(modalities))):
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = StoredAnnData(modalities[name])
        if "obsmap" in group and name in group["obsmap"]:
            rows[prefix] = ObsMap(StoredValues(open_array(group["obsmap"][name], name=f"obsmap/{name}")))
        else:
            every, own = (pd.Index(stored_frame(one["obs"]).read_names()) for one in (group, modalities[name]))
            rows[prefix] = HeldValues(own.get_indexer(every))
    return Dataset(parts, rows)


def is_multimodal(group: Any) -> bool:
    """Return whether a stored group is a MuData."""
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


def matrix_dataset(matrix: Any, obs: pd.DataFrame | None = None, var: pd.DataFrame | None = None) -> Dataset:
    """Return the dataset that a matrix is, with annotations of its rows and columns if there are any."""
    return Dataset.of(BareMatrix(matrix, obs, var))


def dataset_of(adata: Any, rebind: Callable[[Any], Any]) -> Dataset:
    """Return the dataset that an AnnData or MuData object, or a stored group of one, is.

    Parameters
    ----------
    adata
        The object or group.
    rebind
        Takes it if it is a group, or else each matrix that is opened, and returns what is read in its place.
    """
    if hasattr(adata, "attrs"):
        return stored_dataset(rebind(adata))
    return multimodal(adata, rebind) if hasattr(adata, "mod") else Dataset.of(Annotated(adata, rebind))


def stored_dataset(group: Any) -> Dataset:
    """Return the dataset that a stored AnnData or MuData group is."""
    return stored_multimodal(group) if is_multimodal(group) else Dataset.of(StoredAnnData(group))
