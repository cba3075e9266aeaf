"""One dataset of a loader: the elements and annotations of an AnnData, a MuData or a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._arrays.hdf5_files import refuse_external_links
from .._arrays.open import open_array
from .._arrays.values import HeldValues, StoredValues
from .._format.attributes import encoding_of, refuse_unfinished, text, where
from ..errors import CorruptDataError, reading
from .containers import AnnDataObject, BareMatrix, MuDataObject, StoredAnnData
from .frames import stored_frame
from .keys import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .columns import Values
    from .containers import Container

_CHECKED_TOGETHER = 1 << 20
"""Entries of an ``obsmap`` that are checked at a time."""


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
        """Return the dataset of one container."""
        return Dataset({"": container}, {})

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.parts[""].n_obs

    @property
    def modalities(self) -> list[str]:
        """Prefixes of the keys of the modalities."""
        return [prefix for prefix in self.parts if prefix]

    @property
    def place(self) -> str:
        """File or store that holds it, for errors; empty for objects in memory."""
        return next(iter(self.parts.values())).place

    def elements(self) -> list[str]:
        """Return the keys of all elements."""
        return [prefix + key for prefix, part in self.parts.items() for key in part.elements()]


def matrix_dataset(matrix: Any, obs: pd.DataFrame | None = None, var: pd.DataFrame | None = None) -> Dataset:
    """Return the dataset of a matrix, with annotations of its rows and columns if given."""
    return Dataset.of(BareMatrix(matrix, obs, var))


def dataset_of(adata: Any, rebind: Callable[[Any], Any]) -> Dataset:
    """Return the dataset of an AnnData or MuData object, or of a stored group of one.

    Parameters
    ----------
    adata
        Object or group.
    rebind
        Function that takes the group, or each matrix of the object that is opened, and returns what to read instead.
    """
    if hasattr(adata, "attrs"):
        return stored_dataset(rebind(adata))
    return _multimodal(adata, rebind) if hasattr(adata, "mod") else Dataset.of(AnnDataObject(adata, rebind))


def stored_dataset(group: Any) -> Dataset:
    """Return the dataset of a stored AnnData or MuData group."""
    refuse_unfinished(group)
    refuse_external_links(group)
    with reading(where(group)):
        is_multimodal = encoding_of(group) == "MuData" or "mod" in group
        return _stored_multimodal(group) if is_multimodal else Dataset.of(StoredAnnData(group))


def _multimodal(mdata: Any, rebind: Callable[[Any], Any]) -> Dataset:
    """Return the dataset of a MuData object."""
    _check_axis(mdata.axis, "a MuData")
    parts: dict[str, Container] = {"": MuDataObject(mdata, rebind)}
    rows: dict[str, Values] = {}
    for name, adata in mdata.mod.items():
        if not name or "/" in name:
            raise ValueError(f"Modalities of a MuData must have names without slashes, got {name!r}: rename it.")
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = AnnDataObject(adata, rebind)
        own = HeldValues(np.asarray(mdata.obsmap[name]).reshape(-1))
        rows[prefix] = _ObsMap(own, mdata.n_obs, adata.n_obs, f"`obsmap/{name}` of a MuData in memory")
        at = rows[prefix].take(np.arange(mdata.n_obs))
        if (mdata.obs_names[at >= 0] != adata.obs_names[at[at >= 0]]).any():
            raise ValueError(
                f"`obsmap/{name}` of a MuData in memory must lead to rows of the same names, got others, as after a "
                "change of the modality: `mdata.update()` makes a new one."
            )
    return Dataset(parts, rows)


def _stored_multimodal(group: Any) -> Dataset:
    """Return the dataset of a stored MuData group; rows are found by ``obsmap``, or by their names if there is none."""
    _check_axis(group.attrs.get("axis", 0), where(group))
    parts: dict[str, Container] = {"": StoredAnnData(group)}
    rows: dict[str, Values] = {}
    modalities = group["mod"]
    for name in map(text, modalities.attrs.get("mod-order", sorted(modalities))):
        prefix = f"{MODALITIES}{name}/"
        parts[prefix] = StoredAnnData(modalities[name])
        if "obsmap" in group and name in group["obsmap"]:
            stored = group["obsmap"][name]
            with reading(where(stored)):
                values = StoredValues(open_array(stored))
                rows[prefix] = _ObsMap(values, parts[""].n_obs, parts[prefix].n_obs, where(stored))
        else:
            every, own = (pd.Index(stored_frame(one["obs"]).read_names()) for one in (group, modalities[name]))
            rows[prefix] = HeldValues(own.get_indexer(every))
    return Dataset(parts, rows)


class _ObsMap:
    """MuData's ``obsmap``, which stores 1 + the number of the modality's row, and 0 where it lacks the row.

    Raises
    ------
    CorruptDataError
        If it does not have ``n_obs`` entries, or one lies beyond the ``n_rows`` of the modality: they become addresses.
    """

    def __init__(self, values: HeldValues | StoredValues, n_obs: int, n_rows: int, where: str) -> None:
        if values.dtype.kind not in "iu" or values.size != n_obs:
            raise CorruptDataError(f"{where} must have {n_obs} integers, got {values.size} of {values.dtype}: damaged.")
        for start in range(0, n_obs, _CHECKED_TOGETHER):
            own = values.take(np.arange(start, min(start + _CHECKED_TOGETHER, n_obs)))
            if not 0 <= own.min() <= own.max() <= n_rows:
                raise CorruptDataError(
                    f"{where} must have numbers of the {n_rows} rows of its modality, from 1 on and 0 for none, got "
                    f"{own.min()}..{own.max()}: damaged."
                )
        self.dtype = np.dtype(np.int64)
        self._values = values

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the modality's rows for the rows ``at``, -1 for none."""
        return self._values.take(at).astype(np.int64) - 1


def _check_axis(axis: int, of: str) -> None:
    if axis != 0:
        raise ValueError(f"`axis` of {of} must be 0, so that modalities share rows, got {axis}.")
