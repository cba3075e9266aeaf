"""Ids of genes, and which columns of the data have one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from .._arguments import check_choice, did_you_mean, unknown_names
from .._warn import warn

if TYPE_CHECKING:
    import os

    import pandas as pd

Missing: TypeAlias = Literal["warn", "ignore", "error"]

_LARGEST = np.iinfo(np.int32).max
_VERSIONED = re.compile(r"^(ENS[A-Z]*\d+)\.\d+$")


class Vocabulary:
    """Names of genes and special tokens, each with an id.

    Names may be Ensembl ids or symbols: those that the data has as names of its columns, or in a column of ``var``. An
    Ensembl id with a version (``ENSG00000141510.17``) is looked up without it where the vocabulary lacks it. Columns
    that have no id are left out of tokens.

    Parameters
    ----------
    ids
        Ids by name, as models publish them; or a list of names, whose positions are their ids.
    column
        Column of ``var`` that has the names of genes, such as ``"gene_ids"``. Default: its index.
    missing
        What is done about columns of the data that have no id: ``"warn"`` tells how many there are, and the first of
        them; ``"ignore"`` does not; ``"error"`` raises ``ValueError``. That no column has one is always an error.
    pad
        Name of the padding; its id is 0 where the vocabulary lacks it.

    Raises
    ------
    TypeError
        If ``ids`` is neither, or a name is not a string.
    ValueError
        If there are no names, or ids repeat or are not in ``0..2**31``.

    Examples
    --------
    >>> import pandas as pd
    >>> from annbatch.tokens import Vocabulary
    >>> vocabulary = Vocabulary(
    ...     {"<pad>": 0, "<cls>": 1, "CD3E": 2, "CD19": 3}, missing="ignore"
    ... )
    >>> vocabulary
    Vocabulary(4 names: '<pad>', '<cls>', 'CD3E', 'CD19')
    >>> var = pd.DataFrame(index=["CD19", "MALAT1", "CD3E"])
    >>> vocabulary.columns(var)
    array([ 3, -1,  2], dtype=int32)
    >>> vocabulary.missing_columns(var)
    ['MALAT1']
    """

    def __init__(
        self,
        ids: Mapping[str, int] | Iterable[str],
        *,
        column: str | None = None,
        missing: Missing = "warn",
        pad: str = "<pad>",
    ) -> None:
        check_choice("missing", missing, get_args(Missing))
        names = ids if isinstance(ids, Mapping) else _numbered(ids)
        wrong = [name for name in names if not isinstance(name, str)]
        if wrong:
            raise TypeError(f"`ids` must have names that are strings, got {wrong[0]!r}.")
        self._ids = {str(name): _checked(name, number) for name, number in names.items()}
        if not self._ids:
            raise ValueError("`ids` must have at least one name, got none.")
        if len(set(self._ids.values())) < len(self._ids):
            again = _repeated(self._ids.values())
            raise ValueError(f"`ids` must be different, got {again} for {self._names_of(again)}.")
        self.column = column
        self.missing = missing
        self.pad = pad

    @classmethod
    def from_json(cls, path: str | os.PathLike[str], **options: Any) -> Vocabulary:
        """Return the vocabulary of a JSON file: ids by name, as in scGPT's ``vocab.json``, or a list of names.

        Parameters
        ----------
        path
            File.
        **options
            Other arguments of the class.

        Raises
        ------
        ValueError
            If it is not such a file, or a name repeats in it.
        """
        what = f"`path` must be a JSON file of ids by name, or of a list of names, got {path}"
        try:
            ids = json.loads(Path(path).read_text("utf-8-sig"), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{what}: {error}") from error
        if not isinstance(ids, dict | list):
            raise ValueError(f"{what}, which holds {ids!r:.80}.")
        return cls(ids, **options)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, name: object) -> bool:
        return name in self._ids

    def __getitem__(self, name: str) -> int:
        """Return the id of a name.

        Raises
        ------
        KeyError
            If there is no such name.
        """
        try:
            return self._ids[name]
        except KeyError:
            raise unknown_names("vocabulary", "names of the vocabulary", [name], self._ids) from None

    def __repr__(self) -> str:
        more = ", ..." if len(self) > 4 else ""
        return f"Vocabulary({len(self):,} names: {_some(list(self._ids)[:4])}{more})"

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self._ids.get(self.pad, 0)

    def names(self, var: pd.DataFrame) -> list[str]:
        """Return the name under which each column of the data is looked up.

        Raises
        ------
        KeyError
            If ``var`` lacks the column that has the names.
        """
        if self.column is None:
            return [str(name) for name in var.index]
        if self.column not in var.columns:
            raise unknown_names("column", "a column of var", [self.column], var.columns)
        return [str(name) for name in var[self.column]]

    def columns(self, var: pd.DataFrame) -> np.ndarray:
        """Return the id of each column of the data, -1 where there is none.

        Raises
        ------
        ValueError
            If no column has an id, or two have the same; if any has none, where ``missing="error"``.
        """
        names = self.names(var)
        ids = np.fromiter((self._id(name) for name in names), np.int32, len(names))
        missing = [name for name, one in zip(names, ids.tolist(), strict=True) if one < 0]
        if len(missing) == len(names):
            mean = did_you_mean(missing[:20], self._ids)
            raise ValueError(
                f"`vocabulary` must have ids of columns of the data, got none of {len(names):,} such as "
                f"{_some(names[:3])}, and its own names are such as {_some(list(self._ids)[-3:])}{mean}; "
                "`Vocabulary(column=...)` names the column of `var` that has such names."
            )
        known, counts = np.unique(ids[ids >= 0], return_counts=True)
        if (counts > 1).any():
            again = [name for name, one in zip(names, ids.tolist(), strict=True) if one in set(known[counts > 1][:2])]
            raise ValueError(f"`var` must name each gene of the vocabulary once, got {_some(again[:6])}.")
        if missing and self.missing != "ignore":
            told = (
                f"{len(missing):,} of {len(names):,} columns of the data have no id in the vocabulary: "
                f"{_some(missing[:5])}{', ...' if len(missing) > 5 else ''}"
            )
            if self.missing == "error":
                raise ValueError(f"`vocabulary` must have an id of each column: {told}.")
            warn(f"{told}. They are left out of tokens; `Vocabulary(missing='ignore')` does not tell.")
        return ids

    def missing_columns(self, var: pd.DataFrame) -> list[str]:
        """Return the names of the data's columns that have no id."""
        return [name for name in self.names(var) if self._id(name) < 0]

    def name_of(self, name: str) -> str:
        """Return the name in the vocabulary of a name in the data: without its version, if that is how it is known."""
        versioned = None if name in self._ids else _VERSIONED.match(name)
        return name if versioned is None else versioned[1]

    def _id(self, name: str) -> int:
        return self._ids.get(self.name_of(name), -1)

    def _names_of(self, number: int) -> str:
        return _some([name for name, one in self._ids.items() if one == number][:3])


def _numbered(ids: Any) -> dict[str, int]:
    if isinstance(ids, str | bytes | Set) or not isinstance(ids, Iterable):
        raise TypeError(f"`ids` must be a mapping of names to ids or a list of names, got {ids!r:.80}.")
    return _once((name, number) for number, name in enumerate(ids))


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """Return a dict of pairs; raise ``ValueError`` if a name repeats."""
    every = list(pairs)
    if len(found := dict(every)) < len(every):
        raise ValueError(f"`ids` must have each name once, got {_repeated(name for name, _ in every)!r} twice.")
    return found


def _repeated(values: Iterable[Any]) -> Any:
    """Return the first value that comes again."""
    return next(value for value, count in Counter(values).items() if count > 1)


def _checked(name: str, number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number <= _LARGEST:
        raise ValueError(f"`ids` must be integers in 0..{_LARGEST}, got {number!r} for {name!r}.")
    return int(number)


def _some(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
