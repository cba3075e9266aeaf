"""How many variables inputs have in common: too few mean names of two kinds, which is found before any work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet


_ENSEMBL = re.compile(r"\s*ENS[A-Z]*G\d{6,}")
_SPECIES = {"ENSG": "human", "ENSMUSG": "mouse", "ENSRNOG": "rat", "ENSDARG": "zebrafish", "ENSMMUG": "macaque"}
_SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("without whitespace around them", str.strip),
    ("without the versions behind dots", lambda name: re.sub(r"\.\d+$", "", name)),
    ("if upper and lower case were the same", str.upper),
)
_TELLING = 0.05  # of the smaller number of names: fewer may match by chance where spelling is ignored


@dataclass(frozen=True)
class Named:
    """Variables, and whose they are.

    Attributes
    ----------
    of
        Name of the input, or of what inputs are compared with.
    names
        Names of the variables.
    var
        Their annotations.
    """

    of: str
    names: frozenset[str]
    var: pd.DataFrame

    @staticmethod
    def by(of: str, var: pd.DataFrame) -> Named:
        """Return the variables of a table."""
        return Named(of, frozenset(var.index), var)

    def __str__(self) -> str:
        return f"{self.of} ({len(self.names):,})"


def check_min_overlap(min_overlap: object) -> float:
    """Return the argument, or raise if it is no share."""
    if (
        isinstance(min_overlap, bool)
        or not isinstance(min_overlap, int | float | np.floating)
        or not 0 <= min_overlap <= 1
    ):
        raise ValueError(f"`min_overlap` must be a share from 0 to 1, as 0.1 for 10 %, got {min_overlap!r}.")
    return float(min_overlap)


def require_overlap(
    parts: Sequence[Named], min_overlap: float, against: Named | None = None, *, what: str = "variables"
) -> None:
    """Raise if inputs have too few variables in common with what they are added to, or with each other.

    Two sets of variables match if they share at least that part of the smaller one: a panel of 300 genes matches a
    transcriptome. Inputs that match a third one match each other.

    Parameters
    ----------
    parts
        Variables of the inputs.
    min_overlap
        The part, from 0 to 1.
    against
        Variables that all inputs are compared with; None: each other's.
    what
        What they are, for the error.

    Raises
    ------
    ValueError
        If they do not match; the text has the numbers and guesses the reason.
    """
    if against is not None:
        pair = next(((part, against) for part in parts if _overlap(part.names, against.names) < min_overlap), None)
    else:
        firsts = _unmatched([part.names for part in parts], min_overlap)
        pair = (parts[firsts[0]], parts[firsts[1]]) if len(firsts) > 1 else None
    if pair is not None:
        one, other = pair
        raise ValueError(
            f"Inputs must share at least {100 * min_overlap:.3g} % of their {what} (`min_overlap`), and {one} and "
            f"{other} share {len(one.names & other.names):,}: {_reason(one, other)}. `min_overlap=0` converts them "
            "nonetheless."
        )


def _overlap(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    """Return which part of the smaller set both have; 1 if it is empty."""
    return len(one & other) / min(len(one), len(other)) if one and other else 1.0


def _unmatched(sets: Sequence[frozenset[str]], least: float) -> list[int]:
    """Return the first of each group of sets that match, directly or through others."""
    groups = list(enumerate(sets))
    while True:
        joined: list[tuple[int, frozenset[str]]] = []
        for first, names in groups:
            near = [group for group in joined if _overlap(group[1], names) >= least]
            apart = [group for group in joined if _overlap(group[1], names) < least]
            joined = sorted([(min([first, *(one for one, _ in near)]), names.union(*(one for _, one in near))), *apart])
        if len(joined) == len(groups):
            return [first for first, _ in joined]
        groups = joined


def _reason(one: Named, other: Named) -> str:
    """Guess from the names why they do not match."""
    ids = [_mostly_ensembl(part.names) for part in (one, other)]
    found: list[str | None] = []
    if ids[0] != ids[1]:
        with_ids, without = (one, other) if ids[0] else (other, one)
        found.append(
            f"{with_ids.of} has Ensembl IDs ({_some(with_ids)}), and {without.of} other names, such as symbols "
            f"({_some(without)})"
        )
    elif all(ids):
        species = [_species(part.names) for part in (one, other)]
        if species[0] != species[1]:
            found.append(f"the IDs are of {species[0]} and {species[1]}")
    found += [_spelled_alike(one, other), _in_a_column(one, other), _in_a_column(other, one)]
    return "; ".join(text for text in found if text) or f"names differ, as {_some(one)} and {_some(other)}"


def _spelled_alike(one: Named, other: Named) -> str | None:
    """Return what would make most names match, and how many of them."""
    best, found = len(one.names & other.names), None
    for spellings in chain.from_iterable(combinations(_SPELLINGS, n) for n in range(1, len(_SPELLINGS) + 1)):
        mine, theirs = ({_spelled(name, spellings): name for name in sorted(part.names)} for part in (one, other))
        alike = mine.keys() & theirs.keys()
        if len(alike) - best > _TELLING * min(len(mine), len(theirs)):
            best, example = len(alike), min(key for key in alike if mine[key] != theirs[key])
            how = " and ".join(text for text, _ in spellings)
            found = f"{best:,} would match {how}, as {mine[example]!r} and {theirs[example]!r}"
            found += ", like human and mouse" if str.upper in (spell for _, spell in spellings) else ""
    return found


def _spelled(name: str, spellings: Sequence[tuple[str, Callable[[str], str]]]) -> str:
    for _, spell in spellings:
        name = spell(name)
    return name


def _in_a_column(one: Named, other: Named) -> str | None:
    """Return that a column of ``var`` has the names that the other's variables have, if one does."""
    for column in one.var.columns:
        values = one.var[column]
        if values.dtype.kind == "O" or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype):
            names = {value for value in values.array if isinstance(value, str)}
            if names and _overlap(names, other.names) > 0.5:
                return f"column {column!r} of `var` of {one.of} has such names: make it the index"
    return None


def _mostly_ensembl(names: frozenset[str]) -> bool:
    return sum(_ENSEMBL.match(name) is not None for name in names) > len(names) / 2


def _species(names: frozenset[str]) -> str:
    prefixes = pd.Series([re.sub(r"\d.*", "", name.strip(), flags=re.DOTALL) for name in names])
    prefix = str(prefixes.mode()[0])
    return f"{_SPECIES[prefix]} ({prefix})" if prefix in _SPECIES else f"another species ({prefix})"


def _some(part: Named) -> str:
    return ", ".join(map(repr, part.var.index[:2]))


def n_shared(indexes: Sequence[pd.Index]) -> int:
    """Return the number of names that all indexes have."""
    return len(frozenset.intersection(*map(frozenset, indexes)))
