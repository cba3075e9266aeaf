"""Changes arrays, groups and attributes of a store through the library that wrote it: well formed, and wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import zarr

from .mutate import NUMBERS, VALUES

if TYPE_CHECKING:
    from collections.abc import Callable

_METADATA = ("zarr.json", ".zarray", ".zgroup")
_TEXTS = ("", "x", "nan", "é" * 30, "\x00", "../..")
_DTYPES = ("i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", "c8", "?", "S3", "O")


def change_store(folder: Path, rng: np.random.Generator) -> str:
    """Change one array, group or attribute below a folder; return what was done, or "" if nothing could be."""
    files = [Path(here, name) for here, _, names in sorted(os.walk(folder)) for name in sorted(names)]
    homes = [path for path in files if path.name in _METADATA or _is_hdf5(path)]
    if not homes:
        return ""
    home = homes[int(rng.integers(len(homes)))]
    try:
        if home.name in _METADATA:
            node = zarr.open(home.parent, mode="r+")
            path = home.parent.relative_to(folder)
            what = _change_zarr(node, rng)
        else:
            with h5py.File(home, "r+") as file:
                names: list[str] = []
                file.visit(names.append)
                path = home.relative_to(folder) / names[int(rng.integers(len(names)))]
                what = _change_hdf5(file, path.relative_to(home.relative_to(folder)).as_posix(), rng)
    except Exception as error:  # not every value can be stored everywhere
        return "" if not files else f"{home.relative_to(folder)}: refused {type(error).__name__}"
    return f"{path}: {what}"


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def _change_zarr(node: Any, rng: np.random.Generator) -> str:
    if isinstance(node, zarr.Group) or rng.random() < 0.3:
        return _change_attribute(node.attrs, rng)
    return _set_values(node, rng)


def _change_hdf5(file: h5py.File, name: str, rng: np.random.Generator) -> str:
    node, roll = file[name], rng.random()
    if roll < 0.3 and len(node.attrs):
        return _change_attribute(node.attrs, rng)
    if roll < 0.4:
        del file[name]
        kind = int(rng.integers(4))
        if kind == 0:
            file[name] = h5py.SoftLink(str(rng.choice(["/", "/obs", "/nowhere", f"/{name}"])))
        elif kind == 1:
            file[name] = file["/"]  # a cycle
        elif kind == 2:
            file.create_group(name)
        return f"object {('linked', 'cycle', 'group', 'deleted')[kind]}"
    if isinstance(node, h5py.Group):
        return _change_attribute(node.attrs, rng) if len(node.attrs) else "nothing"
    if roll < 0.75 and node.size:
        return _set_values(node, rng)
    values, attributes = node[()], dict(node.attrs)
    del file[name]
    changed, what = _reformed(np.asarray(values), rng)
    file.create_dataset(name, data=changed)
    file[name].attrs.update(attributes)
    return what


def _reformed(values: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """Return an array of another shape or dtype."""
    forms: dict[str, Callable[[], np.ndarray]] = {
        "shorter": lambda: values[: int(rng.integers(len(values)))],
        "longer": lambda: np.concatenate([values, values[: int(rng.integers(1, 5))]]),
        "scalar": lambda: values.reshape(-1)[0],
        "wider": lambda: np.stack([values, values], axis=-1),
        "flat": lambda: values.reshape(-1),
    }
    if rng.random() < 0.5:
        dtype = str(rng.choice(_DTYPES))
        return values.astype(h5py.string_dtype() if dtype == "O" else dtype), f"dtype {dtype}"
    form = str(rng.choice(list(forms)))
    return np.asarray(forms[form]()), form


def _set_values(array: Any, rng: np.random.Generator) -> str:
    """Set a few values to odd ones."""
    for _ in range(int(rng.integers(1, 4))):
        at = tuple(int(rng.integers(n)) for n in array.shape)
        kind = array.dtype.kind
        if kind in "iu":
            info = np.iinfo(array.dtype)
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            value = min(max(number, info.min), info.max) if rng.random() < 0.7 else (info.min, info.max)[at[0] % 2]
            value = array.dtype.type(value)
        elif kind == "f":
            value = float(rng.choice([np.nan, np.inf, -1.0, 1e30, 0.5]))
        elif kind == "b":
            value = not array[at]
        else:
            value = _TEXTS[int(rng.integers(len(_TEXTS)))]
        array[at] = value
    return f"value {value!r} at {at}"


def _change_attribute(attributes: Any, rng: np.random.Generator) -> str:
    names = sorted(attributes)
    if not names or rng.random() < 0.1:
        names.append(str(rng.choice(["shape", "encoding-type", "categories", "annbatch-dtype", "annbatch-complete"])))
    name = names[int(rng.integers(len(names)))]
    if name in attributes and rng.random() < 0.2:
        del attributes[name]
        return f"attribute {name} deleted"
    value = VALUES[int(rng.integers(len(VALUES)))]
    if rng.random() < 0.3:
        known = (
            "csr_matrix",
            "csc_matrix",
            "array",
            "dataframe",
            "categorical",
            "string-array",
            "dict",
            "nullable-integer",
        )
        value = str(rng.choice(known))
    elif name == "shape" and rng.random() < 0.6:
        value = [NUMBERS[int(rng.integers(len(NUMBERS)))], 8]
    attributes[name] = os.fspath(value) if isinstance(value, Path) else value
    return f"attribute {name} = {value!r}"[:80]
