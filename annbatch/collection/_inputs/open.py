"""Inputs of a collection: files, stores, open groups, AnnData objects; read lazily, by blocks of rows."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import zarr

from ..._anndata.columns import PlainColumn, read_element
from ..._anndata.frames import MemoryFrame, stored_frame
from ..._arrays.values import HeldValues
from ..._format.attributes import DTYPE_ATTRIBUTE, encoding_of
from ...errors import StoreError, reading
from .annotations import Annotations
from .columns import ColumnReader, Group, RangeValues, is_stored_text, strings
from .csc import StoredCsc
from .matrices import Sliceable, StoredCsr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..._anndata.frames import ObsFrame
    from .matrices import MatrixReader

Source: TypeAlias = "os.PathLike[str] | str | zarr.Group | h5py.Group"
LoadAdata: TypeAlias = "Callable[[Any], ad.AnnData]"
Opener: TypeAlias = "Callable[[Source], AbstractContextManager[Input]]"

RAW = (
    "{name} has `raw`, which a collection does not hold. To convert it in place of X, pass "
    "`load_adata=lambda path: anndata.read_h5ad(path).raw.to_adata()`; to leave it out, a `load_adata` that "
    "does `del adata.raw`."
)


@dataclass(slots=True)
class Input:
    """One open input.

    Attributes
    ----------
    name
        Name of the input in ``src_path`` and in errors.
    n_obs, n_vars
        Number of rows and of variables.
    annotations
        Reads the annotations of the variables: called once per input, not with every range of rows.
    obs_names
        Returns the names of rows ``start:stop``.
    matrices
        Readers of ``X``, ``layers/...`` and ``obsm/...``.
    tables
        Readers of the columns of ``obs`` and of those ``obsm/...`` that are data frames.
    index_names
        Name of a table's index; None if it has none.
    dropped
        Names of elements that cannot be shuffled: ``obsp/...``.
    """

    name: str
    n_obs: int
    n_vars: int
    annotations: Callable[[], Annotations]
    obs_names: Callable[[int, int], np.ndarray]
    matrices: dict[str, MatrixReader] = field(default_factory=dict)
    tables: dict[str, dict[str, ColumnReader]] = field(default_factory=dict)
    index_names: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


def name_of(source: Source) -> str:
    """Return the name of an input in ``src_path`` and in errors."""
    if isinstance(source, h5py.Group):
        return f"{source.file.filename}{source.name}".rstrip("/")
    if isinstance(source, zarr.Group):
        return str(source.store_path)
    return os.fspath(source)


@contextmanager
def open_input(source: Source, load_adata: LoadAdata | None) -> Iterator[Input]:
    """Open one input; files opened here are closed at the end.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    StoreError
        If it is neither an h5ad file nor a zarr store of an AnnData object.
    """
    name = name_of(source)
    try:
        with ExitStack() as stack:
            if load_adata is not None:
                yield from_anndata(_loaded(load_adata(source), name), name)
            else:
                yield _from_group(_open_group(source, name, stack), name)
    except Exception as error:
        if name not in str(error):
            error.add_note(f"While reading {name}.")
        raise


def _loaded(adata: Any, name: str) -> ad.AnnData:
    if not isinstance(adata, ad.AnnData):
        raise TypeError(f"`load_adata` must return an AnnData object, got {type(adata).__name__} for {name}.")
    if adata.raw is not None:
        raise StoreError(RAW.format(name=name))
    return adata


def _open_group(source: Source, name: str, stack: ExitStack) -> Group:
    group = source if isinstance(source, h5py.Group | zarr.Group) else _open_path(Path(source), stack)
    if "obs" not in group or "var" not in group:
        raise StoreError(f"{name} must hold an AnnData object with `obs` and `var`, got {sorted(group.keys())}.")
    return group


def _open_path(path: Path, stack: ExitStack) -> Group:
    if not path.exists():
        raise FileNotFoundError(f"No such input: {path}.")
    if path.is_dir():
        try:
            return zarr.open_group(path, mode="r")
        except (FileNotFoundError, zarr.errors.GroupNotFoundError) as error:
            raise StoreError(
                f"{path} must be an h5ad file or a zarr store, got a folder without zarr metadata."
            ) from error
    if not h5py.is_hdf5(path):
        raise StoreError(f"{path} must be an h5ad file or a zarr store, got a file that is not HDF5.")
    try:
        return stack.enter_context(h5py.File(path, "r"))
    except OSError as error:
        raise StoreError(f"{path} cannot be opened as HDF5: damaged or truncated? {error}") from error


def _from_group(group: Group, name: str) -> Input:
    if "raw" in group and encoding_of(group["raw"]) != "null":
        raise StoreError(RAW.format(name=name))
    frame, var = stored_frame(group["obs"], RangeValues), stored_frame(group["var"])
    opened = Input(name, frame.n_rows, var.n_rows, partial(_annotations, group), _names(frame))
    _add_table(opened, "obs", frame)
    for path, elem in _elements(group):
        _add_element(opened, path, elem)
    opened.dropped += [f"obsp/{key}" for key in group["obsp"]] if "obsp" in group else []
    return _checked(opened)


def _add_element(opened: Input, path: str, elem: Any) -> None:
    encoding, where = encoding_of(elem), f"`{path}` of {opened.name}"
    if encoding == "dataframe":
        _add_table(opened, path, stored_frame(elem, RangeValues))
    elif encoding in ("csr_matrix", "csc_matrix"):
        with reading(where):
            opened.matrices[path] = (StoredCsr if encoding == "csr_matrix" else StoredCsc)(elem, where)
    elif encoding in ("array", "") and hasattr(elem, "shape"):
        with reading(where):
            opened.matrices[path] = Sliceable(elem, elem.attrs.get(DTYPE_ATTRIBUTE))
    elif encoding != "null":
        got = repr(encoding) if encoding else "a group, as of a name with a slash"
        raise StoreError(
            f"{where} must be a dense or sparse matrix or a data frame, got {got}: convert, rename or remove it with "
            "`load_adata`."
        )


def _elements(group: Group) -> Iterator[tuple[str, Any]]:
    if "X" in group:
        yield "X", group["X"]
    for parent in ("layers", "obsm"):
        for key in group.get(parent, ()):
            yield f"{parent}/{key}", group[parent][key]


def _annotations(group: Group) -> Annotations:
    others = (dict(read_element(group[key])) if key in group else {} for key in ("varm", "varp", "uns"))
    return Annotations(read_element(group["var"]), *others)


def _names(frame: ObsFrame) -> Callable[[int, int], np.ndarray]:
    names = frame.names()
    if isinstance(frame, MemoryFrame):
        index = pd.Index(names.take(np.arange(frame.n_rows)))
        names = PlainColumn(HeldValues(strings(index.astype(str))))
    elif not is_stored_text(names):
        return lambda start, stop: strings(pd.Index(names.take(np.arange(start, stop))).astype(str))
    return lambda start, stop: names.take(np.arange(start, stop))


def _add_table(opened: Input, path: str, frame: ObsFrame) -> None:
    where = f"`{path}` of {opened.name}"
    for name in frame.columns:
        check_name(name, f"Column {name!r} of {where}")
    if frame.index_name is not None:
        check_name(str(frame.index_name), f"Index {frame.index_name!r} of {where}")
        opened.index_names[path] = str(frame.index_name)
    opened.tables[path] = {
        name: ColumnReader(frame.column(name), frame.n_rows, f"Column {name!r} of {where}") for name in frame.columns
    }


def check_name(name: Any, what: str) -> None:
    """Raise :class:`StoreError` if zarr, or anndata, cannot store an element of this name."""
    allowed = isinstance(name, str) and name not in ("", ".", "..", "zarr.json", "_index")
    if not allowed or re.search(r"[/\\\0\ud800-\udfff]", name) or len(name.encode()) > 255:
        raise StoreError(
            f"{what} must have a name that zarr can store (text of 1 to 255 bytes, without slashes, and none that is "
            "reserved): rename it with `load_adata`."
        )


def _in_memory(table: Any) -> pd.DataFrame:
    """Return a data frame, loading a lazy one."""
    if isinstance(table, pd.DataFrame):
        return table
    frame: pd.DataFrame = table.to_memory()
    frame.index = pd.Index(np.asarray(table.true_index), name=frame.index.name)
    return frame.drop(columns="_index", errors="ignore")


def from_anndata(adata: ad.AnnData, name: str) -> Input:
    """Return an AnnData object as an input; its rows are read on request."""
    obs = MemoryFrame(_in_memory(adata.obs), f"`obs` of {name}")
    opened = Input(name, adata.n_obs, adata.n_vars, partial(_annotations_of, adata), _names(obs))
    _add_table(opened, "obs", obs)
    if adata.X is not None:
        opened.matrices["X"] = Sliceable(adata.X)
    for parent in ("layers", "obsm"):
        for key, value in getattr(adata, parent).items():
            if key is None:  # since anndata 0.13, X is among the layers too
                continue
            if isinstance(value, pd.DataFrame) or hasattr(value, "true_index"):
                where = f"`{parent}/{key}` of {name}"
                _add_table(opened, f"{parent}/{key}", MemoryFrame(_in_memory(value), where))
            else:
                with reading(f"`{parent}/{key}` of {name}"):
                    opened.matrices[f"{parent}/{key}"] = Sliceable(value)
    opened.dropped += [f"obsp/{key}" for key in adata.obsp]
    return _checked(opened)


def _annotations_of(adata: ad.AnnData) -> Annotations:
    varm, varp = (
        {key: value.compute() if hasattr(value, "compute") else value for key, value in aligned.items()}
        for aligned in (adata.varm, adata.varp)
    )
    return Annotations(_in_memory(adata.var), varm, varp, dict(adata.uns))


def _checked(opened: Input) -> Input:
    for path in (*opened.matrices, *opened.tables):
        check_name(path.partition("/")[2] or path, f"`{path}` of {opened.name}")
    for path, reader in opened.matrices.items():
        shape, dtype = reader.info.shape, reader.info.dtype
        if dtype.kind not in "biufc":
            raise StoreError(
                f"`{path}` of {opened.name} must hold numbers or booleans, got {dtype}: convert or remove it with "
                "`load_adata`; a data frame may hold strings."
            )
        if shape[:1] != (opened.n_obs,):
            raise StoreError(f"`{path}` of {opened.name} must have {opened.n_obs} rows like `obs`, got shape {shape}.")
        if not path.startswith("obsm/") and (len(shape) < 2 or shape[1] != opened.n_vars):
            raise StoreError(
                f"`{path}` of {opened.name} must have {opened.n_vars} columns, one per row of `var`, got shape {shape}."
            )
    return opened
