"""The identity of a call in any process: a killed call resumes only with the same arguments and inputs."""

from __future__ import annotations

import dis
import json
import os
import uuid
from dataclasses import astuple
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import google_crc32c
import h5py
import zarr
from zarr.storage import LocalStore

from ..._remote.urls import without_secrets
from ...errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .._inputs.open import Source
    from .request import AddRequest

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


def describe_function(function: Any, *, opaque: str | None = None) -> int:
    """Return a number that identifies a function: its code, its defaults, and the values that it takes from outside.

    The name or the source text alone would not do: ``lambda path: load(path, threshold)`` reads the same for every
    threshold, and a collection would hold rows of two. Functions of the same module that it calls count as it does;
    those of other modules by name. A function that holds any other object is different each time, and its call starts
    over; unless ``opaque`` is given, which stands for all such objects.
    """
    return int(google_crc32c.value(repr(_describe(function, frozenset(), opaque)).encode()))


def _describe(value: Any, outer: frozenset[int], opaque: str | None) -> Any:
    """Return what has the same ``repr`` in every process; ``outer`` are the objects that ``value`` lies in."""
    parts: Iterable[Any]
    match value:
        case _ if isinstance(value, _PLAIN):
            return type(value).__name__, value
        case _ if id(value) in outer:
            return "a function that calls itself"
        case FunctionType():
            inside = [cell.cell_contents for cell in value.__closure__ or () if cell != CellType()]  # but empty cells
            parts = (value.__code__, value.__defaults__, value.__kwdefaults__, inside, _globals(value))
        case CodeType():
            parts = (value.co_name, value.co_code, value.co_names, *value.co_consts)
        case partial():
            parts = (value.func, value.args, value.keywords)
        case list() | tuple():
            parts = value
        case dict():
            parts = value.items()
        case set() | frozenset():
            parts = sorted(value, key=repr)
        case ModuleType():
            return value.__name__
        case type() | BuiltinFunctionType():
            return value.__module__, value.__qualname__
        case os.PathLike():
            return os.fspath(value)
        case _:
            return uuid.uuid4().hex if opaque is None else opaque
    outer |= {id(value)}
    return [type(value).__name__, *(_describe(part, outer, opaque) for part in parts)]


def _globals(function: FunctionType) -> dict[str, Any]:
    """Return the values that a function takes from its module, by name; for functions of other modules their names."""
    known = function.__globals__
    found = {name: known[name] for name in _names(function.__code__) if name in known}
    for name, value in found.items():
        if isinstance(value, FunctionType) and value.__module__ != function.__module__:
            found[name] = f"{value.__module__}.{value.__qualname__}"
    return found


def _names(code: CodeType) -> list[str]:
    """Return the global names of a function and of those inside it, each once; names of attributes are none."""
    own = [one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    inner = [name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)]
    return list(dict.fromkeys([*own, *inner]))


def fingerprint(source: Source) -> list[Any]:
    """Return what differs between inputs, and changes when an input does: JSON."""
    if isinstance(source, zarr.Group):
        if isinstance(source.store, LocalStore):
            return fingerprint(Path(source.store.root) / source.path)
        return [without_secrets(source.store_path), int(google_crc32c.value(describe_nodes(source).encode()))]
    if isinstance(source, h5py.Group):
        path, name = Path(source.file.filename), source.name
        stats = [os.fstat(source.file.id.get_vfd_handle())] if source.file.driver == "sec2" else []
    else:
        path, name = Path(os.fspath(source)), ""
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        stats = [file.stat() for file in files]
    if not stats:  # an input that only `load_adata` or h5py can open
        return [str(path), name]
    return [str(path), name, sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]


def describe_nodes(group: zarr.Group) -> str:
    """Describe a group in a store by the metadata of everything in it."""
    return repr(sorted((name, json.dumps(one.metadata.to_dict(), default=str)) for name, one in _nodes(group)))


def _nodes(group: zarr.Group) -> Iterator[tuple[str, Any]]:
    yield "", group
    yield from group.members(max_depth=None)


def unchanged(sources: Sequence[Source], before: list[list[Any]]) -> None:
    """Raise :class:`StoreError` if an input has changed."""
    for source, known in zip(sources, before, strict=True):
        if fingerprint(source) != known:
            raise StoreError(f"{known[0]} must not change while it is converted, and has changed.")


def call_key(request: AddRequest, before: list[list[Any]]) -> dict[str, Any]:
    """Return the identity of a call that adds rows, given the fingerprints of its inputs; JSON."""
    form = request.form
    return {
        "call": "add_adatas",
        "inputs": before,
        "load_adata": describe_function(request.load_adata),
        "groupby": request.groupby,
        "var_subset": request.var_subset,
        "form": [form.n_obs_per_chunk, form.shard_size, form.layout, str(form.compressors)],
        "dataset_size": request.dataset_size,
        "shuffle": request.shuffle,
        "merge": request.merge,
        "narrow": request.narrow,
        "choice": list(astuple(request.choice)),
        "overwrite": request.overwrite,
        "memory": [request.memory.held, request.memory.block, request.memory.bucket],
    }
