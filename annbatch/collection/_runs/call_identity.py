"""What tells one function from another, over processes, so that a killed call goes on only with the function it had."""

from __future__ import annotations

import json
import os
import uuid
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import google_crc32c
import h5py
import zarr
from zarr.storage import LocalStore

from ...errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._inputs.open import Source
    from .request import AddRequest

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


def describe_function(function: Any) -> int:
    """Return a number that stands for a function: its code, its defaults, and the values that it takes from outside.

    Functions of its own module that it calls count too; those of other modules by name alone. Whatever holds a value
    that is not plain is another function each time, with which nothing goes on.
    """
    return int(google_crc32c.value(repr(_spell(function, set())).encode()))


def _spell(value: Any, seen: set[int]) -> Any:
    if isinstance(value, _PLAIN):
        return (type(value).__name__, value)
    if id(value) in seen:
        return "again"
    seen = seen | {id(value)}
    if isinstance(value, FunctionType):
        return _spell_python(value, seen)
    if isinstance(value, CodeType):
        return [value.co_name, value.co_code, value.co_names, *(_spell(one, seen) for one in value.co_consts)]
    if isinstance(value, partial):
        return ["partial", *(_spell(one, seen) for one in (value.func, value.args, value.keywords))]
    if isinstance(value, MethodType):
        return [_spell(value.__func__, seen), _spell(value.__self__, seen)]
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, type | BuiltinFunctionType):
        return [value.__module__, value.__qualname__]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [type(value).__name__, *(_spell(one, seen) for one in value)]
    if isinstance(value, set | frozenset):
        return sorted(repr(_spell(one, seen)) for one in value)
    if isinstance(value, dict):
        return [(_spell(key, seen), _spell(one, seen)) for key, one in value.items()]
    return uuid.uuid4().hex


def _spell_python(function: FunctionType, seen: set[int]) -> Any:
    inside = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    own = (function.__defaults__, function.__kwdefaults__, inside)
    outside = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    spelled = [_spell(function.__code__, seen), *(_spell(one, seen) for one in own)]
    for name, value in outside.items():
        foreign = isinstance(value, FunctionType) and value.__module__ != function.__module__
        spelled.append([name, [value.__module__, value.__qualname__] if foreign else _spell(value, seen)])
    return spelled


def _names(code: CodeType) -> list[str]:
    """Return the global names of a function, and of those inside it, each once."""
    inner = [name for one in code.co_consts if isinstance(one, CodeType) for name in _names(one)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - the only way to ask
    except ValueError:
        return False
    return True


def fingerprint(source: Source) -> list[Any]:
    """Return what tells an input from another, and from itself after a change: JSON."""
    if isinstance(source, zarr.Group):
        if isinstance(source.store, LocalStore):
            return fingerprint(Path(source.store.root) / source.path)
        nodes = sorted((name, json.dumps(one.metadata.to_dict(), default=str)) for name, one in _nodes(source))
        return [str(source.store_path), int(google_crc32c.value(repr(nodes).encode()))]
    path = Path(source.file.filename if isinstance(source, h5py.Group) else os.fspath(source))
    name = source.name if isinstance(source, h5py.Group) else ""
    if not path.exists():  # an input that only `load_adata` can open
        return [str(path), name]
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    stats = [file.stat() for file in files]
    return [str(path), name, sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)]


def _nodes(group: zarr.Group) -> Iterator[tuple[str, Any]]:
    yield "", group
    yield from group.members(max_depth=None)


def unchanged(sources: Sequence[Source], before: list[list[Any]]) -> None:
    """Raise :class:`StoreError` if an input is another than it was."""
    for source, known in zip(sources, before, strict=True):
        if fingerprint(source) != known:
            raise StoreError(f"{known[0]} must stay as it is while it is converted, and has changed.")


def call_key(request: AddRequest, before: list[list[Any]]) -> dict[str, Any]:
    """Return what tells a call that adds rows from others, given the fingerprints of its inputs; JSON."""
    form = request.form
    return {
        "call": "add_adatas",
        "version": version("annbatch"),
        "inputs": before,
        "load_adata": describe_function(request.load_adata),
        "groupby": request.groupby,
        "var_subset": request.var_subset,
        "form": [form.n_obs_per_chunk, form.shard_size, form.layout, str(form.compressors)],
        "dataset_size": request.dataset_size,
        "shuffle": request.shuffle,
        "merge": request.merge,
        "memory": [request.memory.held, request.memory.block, request.memory.bucket],
    }
