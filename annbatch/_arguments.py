"""Wrong kinds of arguments, described in words, with what to call instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# By package and name of a class or one of its bases, so that nothing is imported to describe an argument.
_KINDS = {
    ("anndata", "AnnData"): "an AnnData object",
    ("anndata", "Raw"): "the `raw` of an AnnData object",
    ("anndata", "BaseCompressedSparseDataset"): "a matrix",
    ("mudata", "MuData"): "a MuData object",
    ("annbatch", "DatasetCollection"): "a DatasetCollection",
    ("annbatch", "Loader"): "a Loader",
    ("zarr", "Store"): "a zarr store",
    ("zarr", "Group"): "a group",
    ("h5py", "Group"): "a group",
    ("zarr", "Array"): "a matrix",
    ("h5py", "Dataset"): "a matrix",
    ("numpy", "ndarray"): "a matrix",
    ("scipy", "spmatrix"): "a matrix",
    ("scipy", "sparray"): "a matrix",
    ("dask", "Array"): "a matrix",
    ("pandas", "DataFrame"): "a DataFrame",
    ("builtins", "list"): "a list",
    ("builtins", "tuple"): "a list",
    ("builtins", "dict"): "a dict",
    ("builtins", "NoneType"): "None",
}


def kind_of(value: Any) -> str:
    """Return what an argument is, in words.

    >>> kind_of("cells.h5ad"), kind_of({}), kind_of(3)
    ('a path', 'a dict', 'builtins.int')
    """
    if isinstance(value, str | os.PathLike):
        return "a path"
    for cls in type(value).__mro__:
        kind = _KINDS.get((cls.__module__.partition(".")[0], cls.__name__))
        if kind is not None:
            return kind
    return f"{type(value).__module__}.{type(value).__qualname__}"


def wrong_kind(name: str, must: str, value: Any, advice: Mapping[str, str]) -> TypeError:
    """Return the error for an argument of a wrong kind, with the advice for that kind.

    >>> wrong_kind("adata", "an AnnData object", ["a.h5ad"], {"a list": "`add_adatas` adds several"})
    TypeError('`adata` must be an AnnData object, got a list: `add_adatas` adds several.')
    """
    kind = kind_of(value)
    return TypeError(f"`{name}` must be {must}, got {kind}{': ' + advice[kind] if kind in advice else ''}.")


def as_list(name: str, of: str, value: Any, advice: Mapping[str, str]) -> list[Any]:
    """Return the items of an argument that holds several; raise for a single one, whatever iterating it would yield."""
    kind = kind_of(value)
    if kind != "a list" and (kind in advice or not hasattr(value, "__iter__")):
        raise wrong_kind(name, f"a list of {of}", value, advice)
    return list(value)
