"""Inputs of a collection: files, stores, open groups, AnnData objects; read lazily, by blocks of rows."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np
import pandas as pd
import zarr

from ..._anndata.backed import anchor_backed
from ..._anndata.columns import PlainColumn, TextColumn, read_element
from ..._anndata.frames import MemoryFrame, in_memory, is_lazy, read_var, stored_frame
from ..._anndata.open_path import open_path
from ..._arguments import as_list, wrong_kind
from ..._arrays.dask import is_dask, stored_behind
from ..._arrays.hdf5_files import refuse_external_links
from ..._arrays.values import HeldValues
from ..._format.attributes import FIRST_ROW_ATTRIBUTE, encoding_of, original_dtype, refuse_unfinished, where
from ..._format.metadata_files import bounded_reads
from ..._remote.open import open_group
from ..._remote.urls import is_url, refuse_other_urls, without_secrets
from ...errors import StoreError, reading, reading_object
from .annotations import RAW, Annotations, storable
from .columns import ColumnReader, Group, RangeValues, check_text, strings
from .csc import StoredCsc
from .input import Input as Input
from .matrices import NUMBERS, Sliceable, StoredCsr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from anndata import AnnData

    from ..._anndata.frames import ObsFrame
    from .chosen import Choice
    from .matrices import MatrixReader

Source: TypeAlias = "os.PathLike[str] | str | zarr.Group | h5py.Group"
LoadAdata: TypeAlias = "Callable[[Any], AnnData]"
Opener: TypeAlias = "Callable[[Source], AbstractContextManager[Input]]"

# What other programs write into HDF5 files and zarr stores: elements that tell, what it is, and how to convert it.
_OTHERS = {
    ("row_attrs", "col_attrs"): ("a loom file", "pass `load_adata=anndata.io.read_loom`"),
    ("matrix",): ("a 10x file", "pass `load_adata=scanpy.read_10x_h5`"),
    ("dataset_0",): ("a collection", "give its datasets, `list(DatasetCollection(path, mode='r'))`"),
    ("tables",): ("a SpatialData store", "give its table, `zarr.open_group(path, mode='r')['tables/table']`"),
}


def name_of(source: Source) -> str:
    """Return the name of an input in ``src_path`` and in errors, with escapes for bytes that are no text."""
    if isinstance(source, h5py.Group):
        name = f"{source.file.filename}{source.name}".rstrip("/")
    elif isinstance(source, zarr.Group):
        name = without_secrets(source.store_path)
    else:
        name = without_secrets(source) if is_url(source) else os.fspath(source)
    return name.encode(errors="backslashreplace").decode()


_AS_LIST = {
    "a path": "put it into one, `[path]`",
    "a group": "put it into one, `[group]`",
    "a dict": "give its paths, `list(paths.values())`",
    "an AnnData object": "write it with `adata.write_h5ad(path)` and give `[path]`, or load it with `Loader.add_adata`",
    "a MuData object": "`Loader.add_adata` loads it; to convert a modality, write it with `write_h5ad`",
    "a zarr store": "give its group, `[zarr.open_group(store, mode='r')]`",
    "a matrix": "make an `anndata.AnnData(matrix)` and write it with `write_h5ad`",
    "a DataFrame": "give a list of paths",
}


def as_sources(adata_paths: Any, *, name: str = "adata_paths") -> list[Source]:
    """Return the inputs of a call, of the kinds that can be opened.

    Raises
    ------
    TypeError
        If they are no list, or one of them is neither a path nor an open group.
    ValueError
        If there are none.
    """
    sources = as_list(name, "inputs", adata_paths, _AS_LIST)
    if not sources:
        raise ValueError(f"`{name}` must name at least one input, got none.")
    for source in sources:
        if not isinstance(source, str | os.PathLike | zarr.Group | h5py.Group):
            advice = {kind: how.replace("[", "").replace("]", "") for kind, how in _AS_LIST.items()}
            raise wrong_kind(name, "a list of paths or open groups", source, advice)
        if isinstance(source, h5py.Group) and not source:
            raise ValueError(f"`{name}` must be open, got an HDF5 file that was closed.")
        if isinstance(source, str | os.PathLike):
            refuse_other_urls(source, name)
    return sources


@contextmanager
def open_input(source: Source, load_adata: LoadAdata | None, choice: Choice) -> Iterator[Input]:
    """Open one input; files opened here are closed at the end.

    Without a choice of ``raw``, that of what ``load_adata`` returns is kept, and that of files dropped.

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
                yield choice.of(_loaded(load_adata(source), name, choice.raw != "drop"))
            else:
                with reading(name):
                    opened = _from_group(_open_group(source, name, stack), name, choice.raw in ("keep", "use"))
                yield choice.of(opened)
    except Exception as error:
        if name not in str(error):
            error.add_note(f"While reading {name}.")
        raise


def open_store(place: str, *, within: str) -> Group:
    """Open an AnnData in a local file or store, or at a URL, and leave it open; errors are as in :func:`open_input`.

    Parameters
    ----------
    place, within
        Path or URL, and path of the group in it; empty for the root.
    """
    root: Any = open_group(place) if is_url(place) else _open_path(place, ExitStack())
    name = f"{place}/{within}".rstrip("/")
    with reading(name):
        if within and within not in root:
            raise FileNotFoundError(f"No such group: {name}.")
        group: Group = root[within] if within else root
    if not is_url(place):  # a web server lists nothing
        _refuse_others(group, name)
    return group


def _loaded(adata: Any, name: str, with_raw: bool) -> Input:
    from anndata import AnnData

    if not isinstance(adata, AnnData):
        advice = {"a MuData object": "return one of its modalities, as `mdata['rna']`"}
        raise wrong_kind(f"load_adata({name})", "an AnnData object", adata, advice)
    made = from_anndata(adata, name, with_raw)
    made.is_made = True
    return made


def _open_group(source: Source, name: str, stack: ExitStack) -> Group:
    group = bounded_reads(source) if isinstance(source, h5py.Group | zarr.Group) else _open_path(source, stack)
    _refuse_others(group, name)
    return group


def _refuse_others(group: Group, name: str) -> None:
    """Raise unless a group holds an AnnData object; a MuData has `obs` and `var`, too."""
    refuse_unfinished(group)
    refuse_external_links(group)
    with reading(name):
        found = sorted(group.keys())
        modalities = sorted(group["mod"].keys()) if "mod" in found else None
    if modalities is not None or encoding_of(group) == "MuData":
        raise StoreError(
            f"{name} is a MuData with the modalities {modalities}: `Loader.add_adata` reads them side by side. To "
            f"convert one, give its group, 'mod/{(modalities or ['rna'])[0]}' of `h5py.File(path)` or of "
            "`zarr.open_group(path)`."
        )
    if "obs" in found and "var" in found:
        return
    what = next((what for keys, what in _OTHERS.items() if set(keys) <= set(found)), None)
    got = f"{what[0]}: {what[1]}" if what else f"{found}: `load_adata` may read other formats"
    raise StoreError(f"{name} must hold an AnnData object with `obs` and `var`, got {got}.")


def _open_path(source: str | os.PathLike[str], stack: ExitStack) -> Group:
    if is_url(source):
        opening = "`zarr.open_group(annbatch.RemoteStore(url), mode='r')`"
        raise StoreError(f"{without_secrets(source)} must be opened before it is given as an input: {opening}.")
    group = open_path(source)
    return stack.enter_context(group) if isinstance(group, h5py.File) else group


def _from_group(group: Group, name: str, with_raw: bool) -> Input:
    frame, var = stored_frame(group["obs"], RangeValues), stored_frame(group["var"])
    opened = Input(name, frame.n_rows, var.n_rows, partial(_annotations, group, with_raw), _names(frame, name))
    _add_table(opened, "obs", frame)
    for path, elem in _elements(group, name):
        _add_element(opened, path, elem)
    with reading(f"`obsp` of {name}"):
        names = list(group["obsp"]) if "obsp" in group else []
    opened.pairwise = {key: partial(_pairwise, group, key, f"`obsp/{key}` of {name}") for key in names}
    if has_raw(group) and with_raw:
        with reading(f"`raw` of {name}"):
            opened.n_raw_vars = stored_frame(group["raw/var"]).n_rows
            _add_element(opened, RAW, group[RAW])
    opened.dropped += ["raw"] if has_raw(group) and not with_raw else []
    return _checked(opened)


def has_raw(group: Group) -> bool:
    """Return whether a stored AnnData has ``raw``."""
    return "raw" in group and encoding_of(group["raw"]) != "null"


def _add_element(opened: Input, path: str, elem: Any) -> None:
    encoding, where = encoding_of(elem), f"`{path}` of {opened.name}"
    if encoding == "dataframe":
        _add_table(opened, path, stored_frame(elem, RangeValues))
    elif encoding != "null":
        opened.matrices[path] = _matrix(elem, where)
        with reading(where):
            opened.graphs |= {path} if FIRST_ROW_ATTRIBUTE in elem.attrs else set()


def _pairwise(group: Group, key: str, where: str) -> MatrixReader:
    with reading(where):
        elem = group["obsp"][key]
    return _matrix(elem, where)


def _matrix(elem: Any, where: str) -> MatrixReader:
    """Return the reader of a stored matrix."""
    encoding = encoding_of(elem)
    with reading(where):
        if encoding in ("csr_matrix", "csc_matrix"):
            return (StoredCsr if encoding == "csr_matrix" else StoredCsc)(elem, where)
        if encoding in ("array", "") and hasattr(elem, "shape"):
            return Sliceable(elem, original_dtype(elem.attrs, elem.dtype))
    raise _no_matrix(where, repr(encoding) if encoding else "a group, as of a name with a slash")


def _no_matrix(where: str, got: str) -> StoreError:
    return StoreError(
        f"{where} must be a dense or sparse matrix of numbers, or a data frame, got {got}: convert, rename or "
        "remove it with `load_adata`."
    )


def _elements(group: Group, name: str) -> Iterator[tuple[str, Any]]:
    if "X" in group:
        yield "X", group["X"]
    for parent in ("layers", "obsm"):
        with reading(f"`{parent}` of {name}"):
            part = group.get(parent, {})
            if not hasattr(part, "keys"):
                raise StoreError(
                    f"`{parent}` of {name} must be a group of matrices, got an array, as of anndata before 0.7: read "
                    "the file with `load_adata=anndata.read_h5ad`."
                )
            elements = {key: part[key] for key in part}
        for key, elem in elements.items():
            yield f"{parent}/{key}", elem


def _annotations(group: Group, with_raw: bool) -> Annotations:
    with reading(where(group)):
        varm, varp, uns = (dict(read_element(group[key])) if key in group else {} for key in ("varm", "varp", "uns"))
        raw = _annotations(group["raw"], False) if with_raw and has_raw(group) else None
        return Annotations(read_var(group["var"]), varm, varp, uns, raw)


def _names(frame: ObsFrame, where: str) -> Callable[[int, int], np.ndarray]:
    names = frame.names()
    if isinstance(frame, MemoryFrame):
        every = strings(TextColumn(names).take(np.arange(frame.n_rows)))
        check_text(every, f"The names of the rows of {where}")
        names = PlainColumn(HeldValues(every))
    return lambda start, stop: names.take(np.arange(start, stop))


def _add_table(opened: Input, path: str, frame: ObsFrame) -> None:
    where = f"`{path}` of {opened.name}"
    for name in frame.columns:
        check_name(name, f"Column {name!r} of {where}", "dtype")  # which anndata looks up as the frame's own
    if frame.index_name is not None:
        check_name(str(frame.index_name), f"Index {frame.index_name!r} of {where}")
        opened.index_names[path] = str(frame.index_name)
    opened.tables[path] = {
        name: ColumnReader(frame.column(name), frame.n_rows, f"Column {name!r} of {where}") for name in frame.columns
    }


def check_name(name: Any, what: str, *reserved: str) -> None:
    """Raise :class:`StoreError` if zarr, or anndata, cannot store an element of this name."""
    allowed = isinstance(name, str) and name not in ("", ".", "..", "zarr.json", "_index", *reserved)
    if not allowed or re.search(r"[/\\\0\ud800-\udfff]", name) or len(name.encode()) > 255:
        raise StoreError(
            f"{what} must have a name that zarr can store (text of 1 to 255 bytes, without slashes, and none that is "
            "reserved): rename it with `load_adata`."
        )


def _slices(matrix: Any) -> Sliceable:
    """Return the reader of a matrix; of one that anndata reads lazily, of what is stored in the file that is open."""
    from anndata.io import sparse_dataset

    stored = stored_behind(matrix) if is_dask(matrix) else None
    refuse_unfinished(getattr(matrix, "group", matrix) if stored is None else stored)
    if stored is None:
        return Sliceable(matrix)
    return Sliceable(sparse_dataset(stored) if hasattr(stored, "keys") else stored)


def from_anndata(adata: AnnData, name: str, with_raw: bool) -> Input:
    """Return an AnnData object as an input; its rows are read on request."""
    anchor_backed(adata)
    with_raw = with_raw and adata.raw is not None
    obs = MemoryFrame(in_memory(adata.obs), f"`obs` of {name}")
    opened = Input(name, adata.n_obs, adata.n_vars, partial(_annotations_of, adata, name, with_raw), _names(obs, name))
    _add_table(opened, "obs", obs)
    with reading_object(adata, f"`X` of {name}"):  # a backed view reads it here
        if (x := adata.X) is not None:
            opened.matrices["X"] = _slices(x)
    for parent in ("layers", "obsm"):
        for key, value in getattr(adata, parent).items():
            if key is None:  # since anndata 0.13, X is among the layers too
                continue
            if isinstance(value, pd.DataFrame) or is_lazy(value):
                where = f"`{parent}/{key}` of {name}"
                _add_table(opened, f"{parent}/{key}", MemoryFrame(in_memory(value), where))
            elif not hasattr(value, "dtype"):  # awkward arrays
                raise _no_matrix(f"`{parent}/{key}` of {name}", type(value).__name__)
            else:
                with reading_object(adata, f"`{parent}/{key}` of {name}"):
                    opened.matrices[f"{parent}/{key}"] = _slices(value)
    if with_raw:
        opened.matrices[RAW], opened.n_raw_vars = _slices(adata.raw.X), adata.raw.n_vars
    opened.pairwise = {key: partial(_slices, value) for key, value in adata.obsp.items()}
    opened.dropped += ["raw"] if adata.raw is not None and not with_raw else []
    return _checked(opened)


def _loaded_value(value: Any) -> Any:
    if is_lazy(value):  # a data frame that was read lazily
        return in_memory(value)
    return value.compute() if hasattr(value, "compute") else value


def _annotations_of(adata: AnnData, name: str, with_raw: bool) -> Annotations:
    varm, varp = ({key: _loaded_value(value) for key, value in one.items()} for one in (adata.varm, adata.varp))
    raw = _raw(adata.raw, name) if with_raw else None
    var, varm, uns = (
        storable(value, f"`{key}` of {name}")
        for key, value in (("var", _var(adata)), ("varm", varm), ("uns", dict(adata.uns)))
    )
    return Annotations(var, varm, varp, uns, raw)


def _raw(raw: Any, name: str) -> Annotations:
    varm = {key: _loaded_value(value) for key, value in raw.varm.items()}
    return Annotations(storable(_var(raw), f"`raw/var` of {name}"), storable(varm, f"`raw/varm` of {name}"))


def _var(of: Any) -> pd.DataFrame:
    var = in_memory(of.var)
    return var.set_axis(var.index.astype(str))


def _checked(opened: Input) -> Input:
    for path in (*opened.matrices, *opened.tables):
        check_name(path.partition("/")[2] or path, f"`{path}` of {opened.name}")
    for path, reader in opened.matrices.items():
        shape, dtype = reader.info.shape, reader.info.dtype
        if dtype.char not in NUMBERS:
            raise _no_matrix(f"`{path}` of {opened.name}", f"dtype {dtype}")
        if shape[:1] != (opened.n_obs,):
            raise StoreError(f"`{path}` of {opened.name} must have {opened.n_obs} rows like `obs`, got shape {shape}.")
        var, n_vars = ("raw/var", opened.n_raw_vars) if path == RAW else ("var", opened.n_vars)
        if not path.startswith("obsm/") and (len(shape) < 2 or shape[1] != n_vars):
            raise StoreError(
                f"`{path}` of {opened.name} must have {n_vars} columns, one per row of `{var}`, got shape {shape}."
            )
    return opened
