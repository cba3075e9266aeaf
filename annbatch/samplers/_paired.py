"""Batches of sets with matched partners: cells under a drug with control cells of the same line, days of one donor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from .._arguments import check_choice, kind_of
from .._plan.window_rows import TAKEN
from ._checks import check_positive, digest, digest_of_codes, whole
from ._group_rows import GroupRows, keys_of, occurrences
from ._groups import Groups, check_described, columns_of, row_set
from ._row_set import RowSet
from ._sets import MATCHES, SetSampler

if TYPE_CHECKING:
    from ..types import LoadRequest
    from ._groups import GroupsLike
    from ._row_set import RowsLike
    from ._sets import _Sets

Unmatched: TypeAlias = Literal["error", "drop"]
RowsOf = Mapping[str, Any]
"""Rows by values of columns: ``{"drug": "DMSO"}``, ``{"day": [2, 3]}``."""


class PairedSampler(SetSampler):
    """Draws batches of sets, each row with a partner that matches it.

    For models that learn from pairs: perturbed cells with control cells of the same cell line and batch, or the cells
    of a donor on one day with those of later days. ``batch["X"]`` and ``batch["obs"]`` are those of the target rows,
    ``batch["control"]["X"]`` and ``batch["control"]["obs"]`` those of their partners, in the same form: row ``i`` of
    one belongs to row ``i`` of the other. All are read in one window.

    A partner is drawn among the rows that have the same values as its target in the columns ``match_on``; within a set
    none comes twice while others are left. Each set draws for itself.

    Parameters
    ----------
    groups, set_size, sets_per_batch, group_weights, n_sets, replacement, small
        Sets of target rows, as in :class:`SetSampler`.
    chunk_size, preload_nbatches, drop_last, rng
        As there.
    control
        Partners that come as ``batch["control"]``: values of columns, as ``{"drug": "DMSO"}``, of rows within ``mask``;
        or a pool of its own, whatever ``mask`` is: a boolean mask, row numbers, a :class:`RowSet`.
    partners
        Several partners, by the names under which they come: ``{"day_2": {"day": 2}, "day_7": {"day": 7}}``.
    targets
        Rows that sets are made of, in the same forms, within ``mask``. Default: rows that are in no pool of partners.
        A row that is given as a target and in a pool, too, may be its own partner.
    match_on
        Columns in which target and partner have equal values, from the coarsest to the finest, ``["line", "batch"]``.
        Default: none, any row of the pool matches. With ``fallback``, or as a list of lists from the best match on,
        ``[["line", "batch"], ["line"], []]``, coarser matches are taken where a better one does not exist.
    fallback
        Whether a target without a match in all columns ``match_on`` takes one in fewer, left out from the last on; at
        least the first must be equal.
    unmatched
        ``"error"``: refuse targets without any match. ``"drop"``: leave them out; how many they are, ``repr`` tells.
    control_size
        Rows per set of partners. Default: ``set_size``. If it differs, row ``j`` of a set of partners matches row
        ``j % set_size`` of its target set.
    mask
        Rows to sample from.

    Raises
    ------
    ValueError
        If an argument is out of range, a pool is empty, or a target has no match.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from annbatch import Loader
    >>> from annbatch.samplers import PairedSampler
    >>> obs = pd.DataFrame(
    ...     {"line": ["A", "B"] * 50, "drug": ["DMSO"] * 40 + ["x"] * 60}
    ... )
    >>> obs.index = [f"cell {row}" for row in range(100)]
    >>> sampler = PairedSampler(
    ...     ["line", "drug"],
    ...     control={"drug": "DMSO"},
    ...     match_on=["line"],
    ...     set_size=8,
    ...     sets_per_batch=2,
    ...     rng=0,
    ... )
    >>> batch = next(
    ...     iter(Loader(batch_sampler=sampler).add_dataset(np.zeros((100, 3)), obs=obs))
    ... )
    >>> batch["X"].shape, batch["control"]["X"].shape
    ((16, 3), (16, 3))
    >>> list(batch["obs"]["line"]) == list(batch["control"]["obs"]["line"])
    True
    """

    def __init__(
        self,
        groups: GroupsLike,
        *,
        control: RowsOf | RowsLike | None = None,
        partners: Mapping[str, RowsOf | RowsLike] | None = None,
        targets: RowsOf | RowsLike | None = None,
        match_on: Sequence[str] | Sequence[Sequence[str]] | str | None = None,
        fallback: bool = False,
        unmatched: Unmatched = "error",
        control_size: int | None = None,
        set_size: int | None = 64,
        sets_per_batch: int = 16,
        group_weights: Literal["uniform"] | np.ndarray | pd.Series | Mapping[Any, float] | None = None,
        n_sets: int | None = None,
        replacement: bool = False,
        small: Literal["pad", "drop"] = "pad",
        chunk_size: int | None = None,
        preload_nbatches: int | None = None,
        drop_last: bool = False,
        mask: RowsLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self._partners = _partners(control, partners)
        self._given_targets = targets
        if targets is not None:
            check_described(targets, "targets")
        self._levels = _levels(match_on, fallback)
        check_choice("unmatched", unmatched, get_args(Unmatched))
        self._unmatched = unmatched
        self.control_size = None if control_size is None else whole(control_size, "control_size")
        check_positive(control_size=1 if self.control_size is None else self.control_size)
        self._pools: dict[str, _Pool] = {}
        self._n_unmatched = 0
        super().__init__(
            groups,
            set_size=set_size,
            sets_per_batch=sets_per_batch,
            group_weights=group_weights,
            n_sets=n_sets,
            replacement=replacement,
            small=small,
            chunk_size=chunk_size,
            preload_nbatches=preload_nbatches,
            drop_last=drop_last,
            mask=mask,
            rng=rng,
        )

    def obs_columns(self) -> list[str]:
        described = [*self._partners.values(), self._given_targets]
        names = [*self._group_names, *chain(*self._levels, *map(columns_of, described))]
        return self._columns.missing(names)

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        own = super().identity()
        pools = {name: pool.digest for name, pool in self._pools.items()}
        return own | {"partners": pools, "match_on": self._levels, "control_size": self.control_size}

    def _rows_read_per_set(self) -> int:
        size = super()._rows_read_per_set()
        return size + len(self._partners) * (self.control_size or size)

    def _targets(self, groups: Groups) -> RowSet:
        """Return the rows that sets are made of, and find the pools of their partners."""
        n_obs = groups.n_obs
        within = np.zeros(n_obs, dtype=bool)
        within[np.asarray(self._rows(n_obs))] = True
        levels = [self._level(names, n_obs) for names in self._levels]
        chosen, self._pools = within.copy(), {}
        for name, described in self._partners.items():
            rows = np.asarray(row_set(described, self._columns, n_obs, name))
            if isinstance(described, Mapping):
                rows = rows[within[rows]]
                if not len(rows):
                    raise ValueError(
                        f"`{name}` must describe rows within `mask`, got none with {dict(described)}; a RowSet of rows "
                        "is a pool of its own."
                    )
            chosen[rows] = False
            self._pools[name] = _Pool.of(RowSet(rows, n_obs), levels)
        if self._given_targets is not None:
            chosen = np.zeros(n_obs, dtype=bool)
            chosen[np.asarray(row_set(self._given_targets, self._columns, n_obs, "targets"))] = True
            chosen &= within
        return self._matched(chosen & (groups.codes >= 0), levels)

    def _level(self, names: list[str], n_obs: int) -> Groups:
        if names:
            return Groups.of(self._columns.frame(names, "match_on"))
        return Groups(np.zeros(n_obs, dtype=np.int64), pd.DataFrame(index=[0]))

    def _matched(self, chosen: np.ndarray, levels: list[Groups]) -> RowSet:
        """Return the chosen rows that have a match in every pool."""
        rows = np.flatnonzero(chosen)
        for name, pool in self._pools.items():
            lacking = rows[pool.level[rows] < 0]
            if len(lacking) and self._unmatched == "error":
                codes = levels[-1].codes[lacking]
                where = levels[-1].label(codes[0]) if codes[0] >= 0 else f"no value in {self._levels[-1]}"
                raise ValueError(
                    f"`{name}` must have a row that matches each target in {self._levels[-1]}, got none for "
                    f"{len(lacking):,} rows, such as row {lacking[0]} ({where}): coarser columns in `match_on` match "
                    "more, unmatched='drop' leaves such targets out."
                )
            chosen[lacking] = False
        self._n_unmatched = len(rows) - int(chosen.sum())
        if not chosen.any():
            raise ValueError(f"`targets` must have rows within `mask` that have matches, got none of {len(rows)}.")
        return RowSet(chosen)

    def _told(self) -> str:
        fallen = {name: pool.n_coarser for name, pool in self._pools.items() if pool.n_coarser}
        coarser = [f", {n:,} rows match {name} in fewer columns" for name, n in fallen.items()]
        dropped = f", {self._n_unmatched:,} rows without a match left out" if self._n_unmatched else ""
        return super()._told() + "".join(coarser) + dropped

    def _drawn_window(
        self, one: _Sets, epoch: int, groups: np.ndarray, numbers: np.ndarray, window: int, n_sets: int
    ) -> LoadRequest:
        request = super()._drawn_window(one, epoch, groups, numbers, window, n_sets)
        rows = request["requests"]
        assert isinstance(rows, np.ndarray)
        first = window * self._chunk_size * self._preload_nchunks
        if self.set_size is not None:
            lengths = np.full(min(n_sets, len(groups) - first), self.set_size)
        else:
            lengths = one.rows.counts[groups[first : first + n_sets]]
        of_set = np.repeat(np.arange(len(lengths)), lengths)
        targets, splits = rows, request["splits"]
        if self.control_size is not None:  # those targets whose matches are drawn
            size = self.control_size
            starts = np.cumsum(lengths) - lengths
            of_set = np.repeat(np.arange(len(lengths)), size)
            targets = rows[starts[of_set] + np.tile(np.arange(size), len(lengths)) % lengths[of_set]]
            edges = np.minimum(np.arange(len(splits) + 1) * self.sets_per_batch, len(lengths)) * size
            splits = [np.arange(a, b) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)]
        drawn, partners = [rows], {}
        for number, (name, pool) in enumerate(self._pools.items()):
            start = sum(map(len, drawn))
            keys = keys_of(self.order_seed(), epoch, MATCHES + number, first + of_set)
            drawn.append(pool.matches(targets, of_set, keys, one.chunk_size, again=self._replacement))
            partners[name] = [split + start for split in splits]
        return {**request, "requests": np.concatenate(drawn), "partners": partners}


@dataclass(frozen=True, eq=False)
class _Pool:
    """Rows that partners are drawn from.

    Attributes
    ----------
    levels
        Groups of all rows by their match, the best match first.
    rows
        The pool's rows in each group, by level.
    level
        ``(n_obs,)`` int8; best level in which the pool matches each row, -1 for none.
    pool
        The rows.
    """

    levels: list[Groups]
    rows: list[GroupRows]
    level: np.ndarray
    pool: RowSet

    @staticmethod
    def of(pool: RowSet, levels: list[Groups]) -> _Pool:
        """Group the rows of a pool."""
        rows = [GroupRows(pool, level.codes, max(1, len(level))) for level in levels]
        found = np.full(levels[0].n_obs, -1, dtype=np.int8)
        for number, (level, drawn) in reversed([*enumerate(zip(levels, rows, strict=True))]):
            found[(level.codes >= 0) & (drawn.counts[level.codes] > 0)] = number
        return _Pool(levels, rows, found, pool)

    @property
    def n_coarser(self) -> int:
        """Number of rows whose match is not the best."""
        return int((self.level > 0).sum())

    @cached_property
    def digest(self) -> str:
        """What decides the matches; kept, as states are taken often."""
        parts = [self.pool.digest(), digest_of_codes(self.level), *(level.digest() for level in self.levels)]
        return digest(np.frombuffer(" ".join(parts).encode(), np.uint8))

    def matches(
        self, targets: np.ndarray, of_set: np.ndarray, keys: np.ndarray, chunk_size: int, *, again: bool
    ) -> np.ndarray:
        """Return a row of the pool for each target: in each set none twice while others match, unless ``again``."""
        found = np.empty(len(targets), dtype=np.int64)
        of_target = self.level[targets]
        for number, (level, rows) in enumerate(zip(self.levels, self.rows, strict=True)):
            here = np.flatnonzero(of_target == number)
            if not len(here):
                continue
            groups = level.codes[targets[here]]
            places = occurrences(of_set[here] * len(rows.counts) + groups)
            own = keys_of(number, keys[here], groups)
            if again:
                own, places = keys_of(number, own, places), np.zeros_like(places)
            size = chunk_size if rows.mean_run >= chunk_size and not again else 1
            found[here] = rows.drawn(groups, places, own, chunk_size=size)
        return found


def _partners(control: Any, partners: Any) -> dict[str, Any]:
    if partners is not None and not isinstance(partners, Mapping):
        raise TypeError(f"`partners` must be a dict of rows by name, got {kind_of(partners)}.")
    given = dict(partners or {})
    if control is not None:
        if "control" in given:
            raise ValueError("`control` must be left out where `partners` has 'control'.")
        given = {"control": control, **given}
    if not given:
        raise ValueError("`control` or `partners` must be given: the rows that partners are drawn from.")
    for name, rows in given.items():
        if not isinstance(name, str) or not name or "/" in name or name in TAKEN | {"group", "sets"}:
            raise ValueError(f"`partners` must have names, other than those of what batches hold, got {name!r}.")
        check_described(rows, name)
    return given


def _levels(match_on: Any, fallback: bool) -> list[list[str]]:
    """Return the columns of each level of matches, the best first."""
    given = [] if match_on is None else [match_on] if isinstance(match_on, str) else match_on
    given = [*given] if isinstance(given, Iterable) else [given]
    if all(isinstance(name, str) for name in given):
        fewest = 1 if fallback else len(given)
        return [given[:n] for n in range(len(given), fewest - 1, -1)] or [[]]
    are_lists = all(isinstance(names, list | tuple) and all(isinstance(n, str) for n in names) for names in given)
    if fallback or not are_lists:
        raise ValueError(
            "`match_on` must be names of columns, or, without `fallback`, lists of them from the best match on, got "
            f"{match_on}."
        )
    return [list(names) for names in given]
