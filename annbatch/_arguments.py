"""Wrong kinds of arguments, described in words, with what to call instead."""

from __future__ import annotations

import operator
import os
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    ("pandas", "Series"): "a Series",
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

    >>> wrong_kind(
    ...     "adata",
    ...     "an AnnData object",
    ...     ["a.h5ad"],
    ...     {"a list": "`add_adatas` adds several"},
    ... )
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


def as_names(value: Any, name: str) -> list[str]:
    """Return names, of Python's types; a single one may be given alone. A data frame in memory may have integers.

    >>> as_names("cell_type", "columns"), as_names(("donor", "dose"), "columns")
    (['cell_type'], ['donor', 'dose'])
    >>> as_names(3, "columns")
    Traceback (most recent call last):
    TypeError: `columns` must be a name or a list of names, got 3.
    """
    if isinstance(value, str):
        return [str(value)]
    several = hasattr(value, "__iter__") and getattr(value, "shape", True) and not isinstance(value, bytes)
    names: list[Any] = [one.item() if isinstance(one, np.generic) else one for one in value] if several else [None]
    if not all(isinstance(one, str | int | tuple) for one in names):
        raise TypeError(f"`{name}` must be a name or a list of names, got {in_words(value)}.")
    return names


def in_words(value: Any) -> str:
    """Return an argument as an error shows it: what it is, in words, where that is shorter than its text."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else kind_of(value)


def whole(value: Any, name: str, *, least: int | None = None) -> int:
    """Return an integer of any type as a Python int; raise ``TypeError`` for anything else.

    >>> whole(3, "n_batches", least=1)
    3
    >>> whole(0, "n_batches", least=1)
    Traceback (most recent call last):
    ValueError: `n_batches` must be positive, got 0.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer, got {in_words(value)}.") from None
    if least is not None and number < least:
        raise ValueError(f"`{name}` must {'be positive' if least == 1 else f'be at least {least}'}, got {number}.")
    return number


def flag(value: Any, name: str) -> bool:
    """Return True or False; raise ``TypeError`` for what is neither, such as ``"no"``, which Python takes for true.

    >>> flag(1, "shuffle")
    True
    >>> flag("no", "shuffle")
    Traceback (most recent call last):
    TypeError: `shuffle` must be True or False, got 'no'.
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"`{name}` must be True or False, got {in_words(value)}.")


def check_callable(value: Any, name: str) -> None:
    """Raise ``TypeError`` unless an argument is None, or a function."""
    if value is not None and not callable(value):
        raise TypeError(f"`{name}` must be a function or None, got {in_words(value)}.")


def did_you_mean(given: Iterable[Any], known: Iterable[Any]) -> str:
    """Return a question for an error, with the known names that are spelled most like those given; or nothing.

    Of paths, the last part must be alike by itself.

    >>> did_you_mean(["dos", "x"], ["dose", "donor"]), did_you_mean(["x"], ["dose"])
    ("; did you mean 'dose'", '')
    """
    names = {str(name).casefold(): str(name) for name in known}
    keys = [str(name).casefold() for name in given]
    near = [one for key in keys for one in ([key] if key in names else get_close_matches(key, names, n=1))]
    last = [key.rpartition("/")[2] for key in keys]
    near = [one for one in near if get_close_matches(one.rpartition("/")[2], last)]
    return f"; did you mean {', '.join(repr(names[one]) for one in dict.fromkeys(near))}" if near else ""


def check_choice(name: str, value: Any, choices: Iterable[str], *, others: Iterable[str] = ()) -> None:
    """Raise unless an argument is one of its choices; ``others`` describes what it may be besides.

    >>> check_choice("obs_join", "iner", ("exact", "inner", "outer"))
    Traceback (most recent call last):
    ValueError: `obs_join` must be 'exact', 'inner' or 'outer', got 'iner'; did you mean 'inner'?
    """
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        *some, last = [*map(repr, choices), *others]
        mean = did_you_mean([value], choices)
        raise ValueError(f"`{name}` must be {', '.join(some)} or {last}, got {value!r}{mean}{'?' if mean else '.'}")


def unknown_names(argument: str, of: str, given: list[str], known: Iterable[str]) -> KeyError:
    """Return the error for names that do not exist, with those that do and what may be meant.

    >>> names = ["dose", "donor"]
    >>> print(unknown_names("columns", "columns of obs", ["dos"], names).args[0])
    `columns` must be columns of obs, got ['dos']; did you mean 'dose'? There are 'donor', 'dose'.
    """
    names = sorted(map(str, known))
    mean = did_you_mean(given, names)
    there = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    return KeyError(f"`{argument}` must be {of}, got {given}{mean}{'?' if mean else '.'} There are {there or 'none'}.")


def drawn_seed(rng: np.random.Generator | int | None, seed: int | None = None) -> int | None:
    """Return an integer drawn from a generator, or from that of a seed; None without either.

    >>> drawn_seed(np.random.default_rng(7)) == drawn_seed(None, seed=7)
    True
    """
    generator = as_generator(rng, seed)
    return None if generator is None else int(generator.integers(2**63))


def as_generator(rng: np.random.Generator | int | None, seed: int | None = None) -> np.random.Generator | None:
    """Return the generator that was given, or that of a seed; None without either."""
    if rng is not None and seed is not None:
        raise ValueError(f"`seed` excludes rng, got both: seed={seed}.")
    name, source = ("rng", rng) if seed is None else ("seed", seed)
    if source is None:
        return None
    is_number = isinstance(source, int | np.integer) and not isinstance(source, bool)
    if not (is_number or (name == "rng" and isinstance(source, np.random.Generator))):
        kinds = "an integer" if name == "seed" else "a `numpy.random.Generator` or an integer"
        raise TypeError(f"`{name}` must be {kinds}, got {kind_of(source)}.")
    if isinstance(source, int | np.integer) and source < 0:
        raise ValueError(f"`{name}` must not be negative, got {source}.")
    return np.random.default_rng(source)
