"""Inputs that a collection has already: known by their content, so that a call that is made twice adds no row twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import h5py
import zarr
from zarr.storage import LocalStore

from ..._anndata.open_path import open_path
from ...errors import reading
from .._inputs.open import name_of
from .call_identity import describe_function, describe_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._inputs.open import Source
    from .._schema.survey import Survey
    from .request import AddRequest

_METADATA = ("zarr.json", ".zgroup", ".zmetadata")
_SAMPLES, _SAMPLE_BYTES = 32, 16 << 10
"""Parts of a file that are read, evenly spaced from its first byte to its last; and files of a store."""


def content_of(source: Source, load_adata: Any) -> list[int]:
    """Return what identifies the rows of an input, wherever it lies: its size, and the CRC-32C of samples of its bytes.

    Inputs of one file differ if they are different groups of it, or read by other ``load_adata``: those that only hold
    other objects, such as a data frame, count as the same, as rows would be added twice without a word otherwise.
    """
    inside = str(source.name).strip("/") if isinstance(source, h5py.Group) else ""
    crc = google_crc32c.value(f"{inside} {describe_function(load_adata, opaque='an object')}".encode())
    path = _path_of(source)
    if path is None:
        return [0, google_crc32c.extend(crc, describe_nodes(cast("zarr.Group", source)).encode())]
    if not path.exists():  # an input that only `load_adata` can open
        return [0, google_crc32c.extend(crc, str(path).encode())]
    if path.is_file():
        return [path.stat().st_size, _extend(crc, path)]
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in files]
    listed = [(file.relative_to(path).as_posix(), n_bytes) for file, n_bytes in zip(files, sizes, strict=True)]
    crc = google_crc32c.extend(crc, repr(listed).encode())
    for file in files[:: max(1, len(files) // _SAMPLES)]:
        crc = _extend(crc, file)
    return [sum(sizes), crc]


def _path_of(source: Source) -> Path | None:
    """Return the path of a file or folder; None of a group in another store."""
    if isinstance(source, zarr.Group):
        return Path(source.store.root) / source.path if isinstance(source.store, LocalStore) else None
    return Path(source.file.filename if isinstance(source, h5py.Group) else os.fspath(source))


def check_places(request: AddRequest, collection: Path | None) -> None:
    """Raise if an input cannot be one, or lies in the collection's folder, or the other way round; nothing is read.

    Raises
    ------
    ValueError
        If rows of the collection itself would be added to it, which ``overwrite`` or ``if_present="add"`` asks for; or
        if a collection would be written into an input.
    StoreError
        If a folder is no zarr store: the files in it may be any number.
    """
    for source in request.sources:
        path = _path_of(source)
        if path is None:
            continue
        if request.load_adata is None and path.is_dir() and not any((path / name).exists() for name in _METADATA):
            open_path(path, name="adata_paths")  # raises
        if collection is None:
            continue
        real, home = Path(os.path.realpath(path)), Path(os.path.realpath(collection))
        if real.is_relative_to(home) and not (request.overwrite or request.if_present == "add"):
            raise ValueError(
                "`adata_paths` must not name datasets of the collection that they are added to, got "
                f"{name_of(source)}: `overwrite=True` replaces the collection by them, and `if_present='add'` adds "
                "their rows once more."
            )
        if home.is_relative_to(real) and home != real and path.is_dir() and request.load_adata is None:
            raise ValueError(f"`group` must not be in an input, got {collection} in {name_of(source)}.")


def _extend(crc: int, path: Path) -> int:
    with open(path, "rb", buffering=0) as file:
        last = max(0, os.fstat(file.fileno()).st_size - _SAMPLE_BYTES)
        for start in sorted({last * i // (_SAMPLES - 1) for i in range(_SAMPLES)}):
            crc = google_crc32c.extend(crc, os.pread(file.fileno(), _SAMPLE_BYTES, start))
    return crc


def new_inputs(
    request: AddRequest, history: Iterable[dict[str, Any]], collection: str
) -> tuple[list[Source], list[list[int]]]:
    """Return the inputs that are to be added, and their contents.

    Parameters
    ----------
    request
        The call.
    history
        Calls so far, as the manifest has them.
    collection
        Name of the collection in errors.

    Raises
    ------
    ValueError
        If an input is in the collection already, or twice in the call, and ``if_present`` is ``"error"``.
    """
    contents = [content_of(source, request.load_adata) for source in request.sources]
    if request.if_present == "add":
        return request.sources, contents
    with reading(f"The history of {collection}"):
        present = {
            tuple(content): f"{int(n_obs):,} rows of {name} are in {collection} already"
            for entry in history
            if "contents" in entry
            for name, n_obs, content in zip(entry["inputs"], entry["n_obs_each"], entry["contents"], strict=True)
        }
    kept = []
    for number, (source, content) in enumerate(zip(request.sources, contents, strict=True)):
        repeat = present.get(tuple(content))
        if repeat is None:
            kept.append(number)
            present[tuple(content)] = f"it has the content of {name_of(source)}, which is named before it"
        elif request.if_present == "error":
            raise ValueError(
                f"`adata_paths` must name inputs that are not in the collection yet, got {name_of(source)}: {repeat}. "
                "Pass `if_present='skip'` to leave it out, or 'add' to add its rows once more."
            )
    return [request.sources[i] for i in kept], [contents[i] for i in kept]


def describe_inputs(found: Survey, sources: Sequence[Source], contents: Sequence[list[int]]) -> dict[str, list[Any]]:
    """Return what is recorded of the inputs that have rows, by which :func:`new_inputs` knows them again."""
    return {
        "inputs": [name_of(source) for source in found.sources],
        "n_obs_each": [one.n_obs for one in found.inputs],
        "contents": [contents[sources.index(source)] for source in found.sources],
    }
