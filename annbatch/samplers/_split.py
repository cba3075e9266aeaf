"""Splits of rows into training, validation and test, which outlive shuffling and conversion."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from uuid import uuid4

import numpy as np
import pandas as pd

from .._arguments import did_you_mean, wrong_kind
from ..errors import CorruptDataError
from ._assign import assign_groups, assign_rows
from ._checks import check_positive, whole
from ._holdout import CONTROL, REST, TRAIN, Holdout
from ._row_set import RowSet
from ._seeding import keyed_rng

if TYPE_CHECKING:
    import os

    from ._holdout import RowsWith

FORMAT, VERSION = "annbatch.Split", 1
_IN_NONE = 255  # number for rows that are in no part
_MOST_ROWS = 1 << 30  # that a file may describe, as long runs of rows take next to nothing in it
_NAMES = {2: ("train", "test"), 3: ("train", "valid", "test")}


@runtime_checkable
class HasObs(Protocol):
    """What a :class:`~annbatch.DatasetCollection` says of its rows."""

    @property
    def fingerprint(self) -> str | None: ...

    @property
    def n_obs(self) -> int: ...

    def obs(self, columns: list[str]) -> pd.DataFrame: ...


class Split(Mapping[str, RowSet]):
    """Disjoint parts of the rows: a mapping from names to row sets, each a sampler's ``mask``. :func:`split` makes it.

    Parameters
    ----------
    names
        Names of the parts.
    part_of
        ``(n_obs,)`` uint8 number of each row's part, 255 for rows in no part.
    groupby
        Column whose groups are kept together; None if rows are assigned one by one.
    groups
        Name of the part of each group.
    holdout
        What was held out, before other rows were assigned.
    """

    def __init__(
        self,
        names: Sequence[str],
        part_of: np.ndarray,
        *,
        groupby: str | None = None,
        groups: Mapping[Any, str | None] | None = None,
        holdout: Holdout | None = None,
    ) -> None:
        self._names = tuple(names)
        self._part_of = part_of
        self.groupby = groupby
        self.groups = dict(groups or {})
        self._holdout = holdout
        self._parts = {}
        for number, name in enumerate(self._names):
            if not (part_of == number).any():
                what = "fractions" if holdout is None else "holdout"
                raise ValueError(f"`{what}` must give rows to every part, got none of {len(part_of)} for {name!r}.")
            self._parts[name] = RowSet(part_of == number)

    @property
    def n_obs(self) -> int:
        """Number of rows, including those in no part."""
        return len(self._part_of)

    def __getitem__(self, name: str) -> RowSet:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {len(rows):,}" for name, rows in self._parts.items())
        grouped = f", by {len(self.groups):,} groups of {self.groupby}" if self.groupby is not None else ""
        return f"Split of {self.n_obs:,} rows: {parts}{grouped}"

    def of(self, obs: pd.DataFrame) -> Split:
        """Return the same split of other rows: each row goes to the part of its group, or for which it is held out.

        Parameters
        ----------
        obs
            Annotations that have the columns by which rows were split: of the collection that the rows were converted
            to, or of new rows of the same groups.

        Raises
        ------
        ValueError
            If rows were split one by one, or ``obs`` has groups that this split does not know.
        """
        held = self._holdout
        if held is not None:
            of = held.part_of(obs, all_there=False)
            shares = self._names[: -len(held.parts)]
            if self.groupby is None and len(shares) == 1:
                rest: Any = np.zeros((of == REST).sum(), np.uint8)
            else:
                rest = _part_of_groups(obs.iloc[of == REST], self.groupby, self.groups, shares)
            part_of = _with_held(of, rest, len(shares))
            return Split(self._names, part_of, groupby=self.groupby, groups=self.groups, holdout=held)
        part_of = _part_of_groups(obs, self.groupby, self.groups, self._names)
        return Split(self._names, part_of, groupby=self.groupby, groups=self.groups)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the split to a small JSON file: about one bit per row, less where whole chunks were assigned.

        An existing file is replaced once the new one is complete.
        """
        if self.n_obs > _MOST_ROWS:
            raise ValueError(f"A saved split must have at most {_MOST_ROWS:,} rows, got {self.n_obs:,}.")
        content = {
            "format": FORMAT,
            "version": VERSION,
            "n_obs": self.n_obs,
            "names": list(self._names),
            "groupby": self.groupby,
            "groups": list(self.groups.items()),
            "holdout": None if self._holdout is None else self._holdout.to_json(),
            "part_of": base64.b64encode(zlib.compress(self._part_of.tobytes(), 9)).decode(),
        }
        path = Path(path)
        fresh = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            fresh.write_text(json.dumps(content))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Split:
        """Read a split that :meth:`save` wrote.

        Raises
        ------
        ValueError
            If the file is not such a file, or of a later version.
        CorruptDataError
            If it is damaged; no more memory is taken than its rows need.
        """
        try:
            content = json.loads(Path(path).read_text())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"`path` must be a file that `Split.save` wrote, got {path}, not JSON.") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"`path` must be a file that `Split.save` wrote, got {path}.")
        if content.get("version") != VERSION:
            raise ValueError(f"{path} must be of format version {VERSION}, got {content.get('version')}.")
        try:
            n_obs, names, groupby = whole(content["n_obs"], "n_obs"), content["names"], content["groupby"]
            if not 0 < n_obs <= _MOST_ROWS:
                raise ValueError(f"`n_obs` must be between 1 and {_MOST_ROWS:,}, got {n_obs:,}.")
            inflate = zlib.decompressobj()
            part_of = np.frombuffer(inflate.decompress(base64.b64decode(content["part_of"]), n_obs + 1), np.uint8)
            if len(part_of) != n_obs or not inflate.eof:
                raise ValueError(f"`part_of` must have {n_obs:,} rows, got {min(len(part_of), n_obs):,} or more.")
            if not all(isinstance(name, str) for name in names) or len(names) >= _IN_NONE:
                raise ValueError(f"`names` must be names of fewer than {_IN_NONE} parts, got {str(names)[:200]}.")
            if part_of.max(initial=0, where=part_of != _IN_NONE) >= len(names):
                raise ValueError(f"`part_of` must have numbers of the {len(names)} parts, got others.")
            groups = dict(content["groups"])
            if not isinstance(groupby, str | None):
                raise ValueError(f"`groupby` must be the name of a column, got {groupby!r}.")
            if not {*groups.values()} <= {*names, None}:
                raise ValueError("`groups` must have parts of the split, got others.")
            held = content.get("holdout")  # none before there were any
            held = None if held is None else Holdout.from_json(held)
            if held is not None and tuple(held.parts) != tuple(names)[len(names) - len(held.parts) :]:
                raise ValueError("`holdout` must hold out rows for the last parts, got others.")
            return cls(names, part_of, groupby=groupby, groups=groups, holdout=held)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise CorruptDataError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def split(
    rows: int | pd.DataFrame | HasObs,
    fractions: Mapping[str, float] | Sequence[float] | None = None,
    *,
    holdout: Mapping[str, RowsWith | Sequence[RowsWith]] | Holdout | None = None,
    control: RowsWith | None = None,
    groupby: str | None = None,
    stratify: str | None = None,
    seed: int = 0,
    chunk_size: int = 64,
) -> Split:
    """Assign rows to disjoint parts.

    Parameters
    ----------
    rows
        A :class:`~annbatch.DatasetCollection`, or the number of its rows, or their ``obs``.
    fractions
        Fraction of each part, by name; two or three without names are ``train`` and ``test``, or ``train``, ``valid``
        and ``test``. If they add up to less than 1, the remaining rows are in no part. May be left out with
        ``holdout``: all other rows are then ``train``.
    holdout
        For each part, the rows that are held out for it: values of columns of ``obs``, all of which a row has, such as
        ``{"test": {"line": "K562", "gene": ["AARS", "MYC"]}}``; or several such dicts, in a list, one of which matches.
        A row in two parts is an error. :func:`read_holdout` reads them from a file. Fractions are of the other rows.
    control
        Values of columns of control rows, such as ``{"gene": "non-targeting"}``: none is held out; they are in the
        first part.
    groupby
        Column of ``obs`` whose groups are kept together, so that no donor is in two parts. Sizes are then as close to
        the fractions as whole groups allow, and every part has a group.
    stratify
        Column of ``obs`` whose labels have the same shares in every part: exactly, up to one row per label; with
        ``groupby``, as closely as whole groups allow.
    seed
        Seed of the assignment.
    chunk_size
        Neighbouring rows that stay together, so that chunks are read whole, if neither ``groupby`` nor ``stratify`` is
        given; 1 splits single rows.

    Returns
    -------
    Split
        A mapping from names to row sets.

    Raises
    ------
    KeyError
        If ``obs`` lacks a column.
    TypeError
        If ``holdout`` is not a dict of such values.
    ValueError
        If fractions are not positive or add up to more than 1, rows or groups are too few for the parts, or a row lacks
        a group or a label; if no row has a value of ``holdout``, or one is held out for two parts.

    Examples
    --------
    >>> import pandas as pd
    >>> from annbatch.samplers import RandomSampler, split
    >>> obs = pd.DataFrame({"donor": [f"donor{i % 10}" for i in range(1000)]})
    >>> parts = split(obs, {"train": 0.8, "test": 0.2}, groupby="donor")
    >>> parts
    Split of 1,000 rows: train 800, test 200, by 10 groups of donor
    >>> donors = obs["donor"].to_numpy()
    >>> set(donors[list(parts["train"])]) & set(donors[list(parts["test"])])
    set()
    >>> sampler = RandomSampler(16, 8, 32, mask=parts["train"])
    >>> screen = pd.DataFrame(
    ...     {
    ...         "line": ["A", "A", "B", "B", "B"],
    ...         "gene": ["none", "MYC", "none", "MYC", "FOS"],
    ...     }
    ... )
    >>> parts = split(
    ...     screen,
    ...     holdout={"test": {"line": "B", "gene": ["MYC"]}},
    ...     control={"gene": "none"},
    ... )
    >>> {name: list(rows) for name, rows in parts.items()}
    {'train': [0, 1, 2, 4], 'test': [3]}
    """
    held = None if holdout is None else Holdout.of(holdout, control)
    if held is None and (fractions is None or control is not None):
        name = "fractions" if fractions is None else "holdout"
        raise ValueError(f"`{name}` must be given: `split` assigns fractions of rows, or holds rows out.")
    shares = _named({TRAIN: 1.0} if fractions is None else fractions)
    if held is not None and (both := shares.keys() & held.parts.keys()):
        raise ValueError(f"`holdout` and `fractions` must have different parts, got {min(both)!r} in both.")
    seed, chunk_size = whole(seed, "seed"), whole(chunk_size, "chunk_size")
    check_positive(chunk_size=chunk_size)
    if seed < 0:
        raise ValueError(f"`seed` must not be negative, got {seed}.")
    if isinstance(rows, HasObs):
        of_holdout = () if held is None else held.columns
        columns = [name for name in dict.fromkeys((groupby, stratify, *of_holdout)) if name is not None]
        rows = rows.obs(columns) if columns else rows.n_obs
    _check_rows(rows)
    if isinstance(rows, pd.DataFrame):
        obs, n_obs = rows, len(rows)
    elif groupby is None and stratify is None and held is None:
        obs, n_obs = pd.DataFrame(index=pd.RangeIndex(rows)), int(rows)
    else:
        name = "holdout" if held is not None else "stratify" if groupby is None else "groupby"
        raise ValueError(f"`{name}` needs obs instead of the number of rows, got {rows}.")
    if held is not None:
        of = held.part_of(obs)
        rest = obs.iloc[of == REST]
        if not len(rest):
            raise ValueError(f"`holdout` must leave rows for training, got all {n_obs} rows.")
        how: dict[str, Any] = {"groupby": groupby, "stratify": stratify, "seed": seed, "chunk_size": chunk_size}
        others = split(rest, shares, **how)
        part_of = _with_held(of, others._part_of, len(shares))
        return Split([*shares, *held.parts], part_of, groupby=groupby, groups=others.groups, holdout=held)
    targets = np.array(list(shares.values()))
    if targets.sum() < 1 - 1e-9:
        targets = np.append(targets, 1 - targets.sum())
    rng = keyed_rng(seed)
    strata = np.zeros(n_obs, dtype=np.int64) if stratify is None else _groups_of(obs, stratify)[0]
    if groupby is not None:
        codes, labels = _groups_of(obs, groupby)
        of_group = assign_groups(codes, strata, targets, n_parts=len(shares), rng=rng)
        names = [*shares, None]
        groups = {label: names[min(part, len(shares))] for label, part in zip(labels, of_group.tolist(), strict=True)}
        return Split(list(shares), _numbered(of_group[codes], len(shares)), groupby=groupby, groups=groups)
    if stratify is not None:
        part_of = assign_rows(strata, targets, rng)
    else:
        chunks = np.arange(n_obs) // chunk_size
        part_of = assign_rows(np.zeros(-(-n_obs // chunk_size), dtype=np.int64), targets, rng)[chunks]
        if chunk_size > 1 and len(np.unique(part_of[part_of < len(shares)])) < len(shares) <= n_obs:
            raise ValueError(
                f"`chunk_size` must leave rows for each of {len(shares)} parts, as neighbouring rows stay together, "
                f"got {chunk_size} for {n_obs} rows: chunk_size=1 splits single rows."
            )
    return Split(list(shares), _numbered(part_of, len(shares)))


def _with_held(of: np.ndarray, rest: np.ndarray, n_shares: int) -> np.ndarray:
    """Return the part of each row, given that of the rows that are not held out; control rows are in the first."""
    part_of = np.full(len(of), _IN_NONE, np.uint8)
    part_of[of == REST], part_of[of == CONTROL] = rest, 0
    part_of[of >= 0] = n_shares + of[of >= 0]
    return part_of


def _part_of_groups(
    obs: pd.DataFrame, groupby: str | None, groups: Mapping[Any, str | None], names: Sequence[str]
) -> np.ndarray:
    if groupby is None:
        raise ValueError("`of` needs a split by groups, which identify rows again: use `split(groupby=...)`.")
    codes, labels = _groups_of(obs, groupby)
    unknown = [label for label in labels if label not in groups]
    if unknown:
        raise ValueError(f"`obs` must have groups of {groupby} that were split, got {unknown[:5]}.")
    numbers = {name: number for number, name in enumerate(names)}
    part_of_group = np.array([numbers.get(groups[label] or "", _IN_NONE) for label in labels], dtype=np.uint8)
    part_of: np.ndarray = part_of_group[codes]
    return part_of


def _check_rows(rows: Any) -> None:
    try:
        whole(0 if isinstance(rows, pd.DataFrame) else rows, "rows")
    except TypeError:
        advice = dict.fromkeys(("an AnnData object", "a MuData object"), "give its `obs`")
        advice |= {
            "a Loader": "`loader.n_obs` is its number of rows",
            "a path": "`DatasetCollection(path, mode='r')` opens a collection",
            "a group": "`DatasetCollection(group, mode='r')` opens a collection",
            "a list": "give the number of rows",
        }
        raise wrong_kind("rows", "a collection, a number of rows or a DataFrame", rows, advice) from None


def _named(fractions: Mapping[str, float] | Sequence[float]) -> dict[str, float]:
    if not isinstance(fractions, Mapping):
        if np.ndim(fractions) != 1 or len(fractions) not in _NAMES:
            raise ValueError(f"`fractions` must be two or three numbers, or named, got {fractions!r}.")
        fractions = dict(zip(_NAMES[len(fractions)], fractions, strict=True))
    values = list(fractions.values())
    if not values or len(values) >= _IN_NONE or not all(value > 0 for value in values) or sum(values) > 1 + 1e-9:
        raise ValueError(f"`fractions` must be positive and add up to at most 1, got {values}.")
    return dict(fractions)


def _groups_of(obs: pd.DataFrame, column: str) -> tuple[np.ndarray, list[Any]]:
    """Return the number of each row's group, and the JSON-able labels of the groups."""
    if column not in obs:
        raise KeyError(
            f"`obs` must have the column {column!r}, got {list(obs.columns)[:20]}{did_you_mean([column], obs.columns)}."
        )
    codes, labels = pd.factorize(obs[column], sort=True)
    if len(codes) and codes.min() < 0:
        raise ValueError(f"`{column}` must be known for every row, got none for {(codes < 0).sum()} rows.")
    return codes, [label.item() if isinstance(label, np.generic) else label for label in labels]


def _numbered(part_of: np.ndarray, n_parts: int) -> np.ndarray:
    return np.where(part_of < n_parts, part_of, _IN_NONE).astype(np.uint8)
