"""Which column of ``obs`` the demo learns."""

from __future__ import annotations

from numbers import Number
from typing import TYPE_CHECKING

import h5py
import pandas as pd
from anndata.io import read_elem

from .._arguments import did_you_mean
from .._arrays.hdf5_files import refuse_external_links
from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MOST_CLASSES = 1000
MOST_CLASSES_UNASKED = 100  # a categorical with more is rather a barcode or a clone than a type of cell


def choose_label(paths: Sequence[Path], label: str | None) -> tuple[str, pd.Index]:
    """Return the column to learn and its classes, sorted; only ``obs`` is read.

    Parameters
    ----------
    paths
        The h5ad files.
    label
        The column, or None: the categorical one that all files have with the most categories, 100 at most.

    Raises
    ------
    FileNotFoundError, annbatch.errors.StoreError
        If a path is not there, or is no h5ad file.
    ValueError
        If a file lacks the column, there is none to choose, or it has fewer than 2 or more than 1,000 values, or
        more than 100 numbers.
    """
    tables = {path: _read_obs(path) for path in paths}
    if label is None:
        label = _most_categories(tables)
    for path, obs in tables.items():
        if label not in obs.columns:
            mean = did_you_mean([label], obs.columns)
            raise ValueError(f"`label` must be a column of obs in {path} ({_names(obs)}), got {label!r}{mean}.")
    classes = _classes(tables, label)
    if len(classes) > MOST_CLASSES_UNASKED and all(isinstance(value, Number) for value in classes):
        raise ValueError(
            f"`label` must name classes, got {label!r}, numbers with {len(classes):,} values: choose another of "
            f"{_names(next(iter(tables.values())))}."
        )
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise ValueError(f"`label` must have 2 to {MOST_CLASSES:,} values, got {label!r} with {len(classes):,}.")
    return label, classes


def _read_obs(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        with h5py.File(path) as file:
            refuse_external_links(file)
            obs = read_elem(file["obs"])
    except StoreError:
        raise
    except (KeyError, OSError) as exc:
        raise StoreError(f"{path}: not an h5ad file ({exc}).") from exc
    if not isinstance(obs, pd.DataFrame):
        raise StoreError(f"{path}: its obs is not a table.")
    return obs


def _most_categories(tables: dict[Path, pd.DataFrame]) -> str:
    shared = set.intersection(
        *({name for name in obs.columns if isinstance(obs[name].dtype, pd.CategoricalDtype)} for obs in tables.values())
    )
    n_classes = {name: len(_classes(tables, name)) for name in sorted(shared)}
    candidates = [name for name, n in n_classes.items() if 2 <= n <= MOST_CLASSES_UNASKED]
    if not candidates:
        path, obs = next(iter(tables.items()))
        raise ValueError(
            f"`label` must be given where no categorical column of obs has 2 to {MOST_CLASSES_UNASKED} categories; "
            f"{path} has {_names(obs)}."
        )
    return max(candidates, key=n_classes.__getitem__)


def _classes(tables: dict[Path, pd.DataFrame], label: str) -> pd.Index:
    values: set[object] = {value for obs in tables.values() for value in obs[label].dropna().unique()}
    return pd.Index(sorted(values, key=str), dtype=object)


def _names(obs: pd.DataFrame) -> str:
    return ", ".join(map(str, obs.columns)) or "no columns"
