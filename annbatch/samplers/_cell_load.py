"""Held-out rows as cell-load describes them, in TOML."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._holdout import SOURCE, TRAIN, Holdout

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECTIONS = ("datasets", "training", "zeroshot", "fewshot")
_PARTS = (TRAIN, "val", "test")


def read_holdout(
    path: str | os.PathLike[str],
    *,
    perturbation: str = "gene",
    cell_type: str = "cell_type",
    control: str | None = "non-targeting",
    dataset: str | None = None,
) -> Holdout:
    """Read which rows to hold out from a TOML file in the format of cell-load.

    ``[datasets]`` has the folder, file or pattern of each dataset; ``[training]`` those whose rows are trained on;
    ``[zeroshot]`` the part of all rows of a cell type; ``[fewshot."dataset.cell type"]`` the perturbations of a cell
    type that are held out, by part. Parts are called ``train``, ``val`` and ``test``. Rows that no section names are in
    no part.

    Parameters
    ----------
    path
        The file.
    perturbation, cell_type
        Columns of ``obs`` with the perturbation and the cell type of each row.
    control
        Perturbation of control rows: those of the datasets in the file stay in training. None: there are none.
    dataset
        Column of ``obs`` with the names of datasets. By default, rows are found by ``src_path``, the input from which
        they were converted, which lies at the place that ``[datasets]`` has.

    Returns
    -------
    Holdout
        For ``split(collection, holdout=...)``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not TOML, has another section, names a dataset without a place, or holds a perturbation of a cell type
        out for two parts.

    Examples
    --------
    >>> from pathlib import Path
    >>> import pandas as pd
    >>> from annbatch.samplers import read_holdout, split
    >>> _ = Path("holdout.toml").write_text('''
    ... [datasets]
    ... replogle = "/data/replogle/"
    ... [training]
    ... replogle = "train"
    ... [zeroshot]
    ... "replogle.jurkat" = "test"
    ... [fewshot."replogle.rpe1"]
    ... val = ["AARS"]
    ... ''')
    >>> obs = pd.DataFrame(
    ...     {
    ...         "src_path": ["/data/replogle/all.h5ad"] * 6,
    ...         "cell_type": ["jurkat", "jurkat", "rpe1", "rpe1", "k562", "k562"],
    ...         "gene": ["AARS", "non-targeting", "AARS", "MYC", "AARS", "MYC"],
    ...     }
    ... )
    >>> parts = split(obs, holdout=read_holdout("holdout.toml"))
    >>> {name: list(rows) for name, rows in parts.items()}
    {'train': [1, 3, 4, 5], 'val': [2], 'test': [0]}
    """
    try:
        content = tomllib.loads(Path(path).read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`path` must be a TOML file, got {path}: {error}") from error
    # Values beside the sections are settings of cell-load's that have nothing to do with rows.
    others = [name for name, value in content.items() if isinstance(value, dict) and name not in _SECTIONS]
    if others:
        raise ValueError(f"{path} must have the sections {', '.join(_SECTIONS)}, got {others[0]!r}.")
    places, training, zeroshot, fewshot = (_section(path, content, name) for name in _SECTIONS)
    for name, place in places.items():
        if not isinstance(place, str):
            raise ValueError(
                f"`[datasets]` of {path} must have the place of each dataset, got {place!r:.80} of {name!r}."
            )

    def rows_of(name: str) -> dict[str, list[Any]]:
        if name not in places:
            raise ValueError(f"`[datasets]` of {path} must have all datasets, got none called {name!r}.")
        return {SOURCE: [places[name]]} if dataset is None else {dataset: [name]}

    def rows_at(key: str) -> dict[str, list[Any]]:
        name, _, kind = key.partition(".")
        if not kind:
            raise ValueError(f"{path} must name cell types as 'dataset.cell type', got {key!r}.")
        return rows_of(name) | {cell_type: [kind]}

    if both := zeroshot.keys() & fewshot.keys():
        raise ValueError(f"{path} must have a cell type in [zeroshot] or in [fewshot], got {min(both)!r} in both.")
    parts: dict[str, list[dict[str, list[Any]]]] = {name: [] for name in _PARTS}
    for name, part in training.items():
        if part != TRAIN:
            raise ValueError(f"`[training]` of {path} must say 'train' of each dataset, got {part!r} of {name!r}.")
        parts[TRAIN].append(rows_of(name))
    for key, part in zeroshot.items():
        parts[_part(path, part, key)].append(rows_at(key))
    for key, held in fewshot.items():
        if not isinstance(held, dict):
            raise ValueError(f"`[fewshot]` of {path} must have perturbations by part, got {held!r} for {key!r}.")
        parts[TRAIN].append(rows_at(key))  # the rest of them, though the dataset is not in training
        _refuse_leaks(path, key, held)
        for part, names in held.items():
            if names:
                parts[_part(path, part, key)].append(rows_at(key) | {perturbation: list(names)})
    held_out = {name: tuple(conditions) for name, conditions in parts.items() if conditions and name != TRAIN}
    if not held_out:
        raise ValueError(f"{path} must hold out some rows, got none in [zeroshot] and [fewshot].")
    return Holdout(held_out, {} if control is None else {perturbation: [control]}, tuple(parts[TRAIN]))


def _section(path: Any, content: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"`{name}` of {path} must be a section, got {found!r}.")
    return found


def _part(path: Any, part: Any, key: str) -> str:
    if part not in _PARTS:
        raise ValueError(f"{path} must name the parts {', '.join(_PARTS)}, got {part!r} for {key!r}.")
    return str(part)


def _refuse_leaks(path: Any, key: str, held: Mapping[str, Any]) -> None:
    seen: dict[str, str] = {}
    for part, names in held.items():
        if not isinstance(names, list):
            raise ValueError(f"{path} must list perturbations, got {names!r} for {part!r} of {key!r}.")
        for name in names:
            if isinstance(name, list | dict):
                raise ValueError(f"{path} must list perturbations, got {name!r:.80} for {part!r} of {key!r}.")
            if seen.setdefault(name, part) != part:
                raise ValueError(
                    f"{path} must hold each perturbation out for one part, got {name!r} of {key!r} for both "
                    f"{seen[name]!r} and {part!r}: rows of one must not be seen in the other."
                )
