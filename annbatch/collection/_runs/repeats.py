"""Inputs that a collection has already: known by their content, so that a call that is made twice adds no row twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import h5py
import zarr
from zarr.storage import LocalStore

from ...errors import reading
from .._inputs.open import name_of
from .call_identity import describe_function, describe_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .._inputs.open import Source
    from .._schema.survey import Survey
    from .request import AddRequest

_SAMPLES, _SAMPLE_BYTES = 32, 16 << 10
"""Parts of a file that are read, evenly spaced from its first byte to its last; and files of a store."""


def content_of(source: Source, load_adata: Any) -> list[int]:
    """Return what identifies the rows of an input, wherever it lies: its size, and the CRC-32C of samples of its bytes.

    Inputs of one file differ if they are different groups of it, or read by other ``load_adata``: those that only hold
    other objects, such as a data frame, count as the same, as rows would be added twice without a word otherwise.
    """
    inside = source.name if isinstance(source, h5py.Group) else ""
    crc = google_crc32c.value(f"{inside} {describe_function(load_adata, opaque='an object')}".encode())
    if isinstance(source, zarr.Group) and not isinstance(source.store, LocalStore):
        return [0, google_crc32c.extend(crc, describe_nodes(source).encode())]
    if isinstance(source, zarr.Group):
        path = Path(cast("LocalStore", source.store).root) / source.path
    else:
        path = Path(source.file.filename if isinstance(source, h5py.Group) else os.fspath(source))
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
