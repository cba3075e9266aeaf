"""Batches of sets: rows of one group each."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
import pandas as pd

from .._arguments import check_choice, flag
from .._plan.ranges import concatenated_ranges
from ._checks import check_positive, digest, whole
from ._group_rows import GroupRows, keys_of, occurrences
from ._groups import Groups, ObsColumns
from ._row_set import RowSet, check_mask
from ._seeding import keyed_rng
from ._window_sampler import WindowSampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..types import LoadRequest
    from ._groups import GroupsLike
    from ._row_set import RowsLike
    from ._window_sampler import Draw

Small: TypeAlias = Literal["pad", "drop"]

_WINDOW_ROWS = 1 << 14
"""Rows per window, about, where a user names no number of batches: those of the defaults of a loader."""

ORDER, ROWS, MATCHES = 0, 1, 2  # purposes of keyed draws
_log = logging.getLogger("annbatch")


class SetSampler(WindowSampler):
    """Draws batches of sets: each set has ``set_size`` rows of one group.

    What models of perturbations and of patients take: a set may be the cells of one cell line under one drug, or all
    cells of a donor. A batch holds its sets one after the other, so that ``X`` has the shape
    ``(sets_per_batch * set_size, n_vars)``; ``batch["group"]``, int64 ``(n_sets,)``, has the number of each set's
    group, and ``loader.groups`` their names.

    **Order.** Sets come in random order, and the rows of each group do. Without replacement, a group's rows are dealt
    to its sets, so that a row comes once per epoch; the last set of a group is filled up with others of its rows, and a
    group that is smaller than a set repeats its own (``small="pad"``), or both are left out (``small="drop"``). So
    only sets of such small groups have a row twice. All is a function of seed and epoch: it resumes at any batch, and
    is the same on any number of ranks.

    **Reading.** On a collection that was made with ``groupby``, where the rows of a group lie together and were
    shuffled among each other, a set is one run of rows (``chunk_size=set_size``); on a shuffled one it is single rows.

    Parameters
    ----------
    groups
        Columns of ``obs`` whose combinations of values are the groups: their names, which are looked up in the data of
        the loader, or the columns of all rows as a DataFrame, Series or Categorical. Rows where a value is missing
        are in no group.
    set_size
        Rows per set. None: all rows of the group, in the order in which they are stored; ``batch["sets"]``,
        int64 ``(n_sets + 1,)``, then has the first row of each set in the batch, and the number of rows.
    sets_per_batch
        Sets per batch.
    group_weights
        How often groups are drawn. None: in proportion to their rows, each exactly as often as its rows fill sets.
        ``"uniform"``, or one weight per group (an array in the order of ``groups`` of the loader, or a dict or Series
        by value, by tuple of values if there are several columns): a group is drawn by weight for each set.
    n_sets
        Sets per epoch, of each rank; only with weights or replacement. Default: as many as rows fill.
    replacement
        Whether rows, or chunks of them, are drawn independently. Otherwise a row comes again only when all of its
        group have come.
    small
        ``"pad"``: where rows of a group lack for a set, others of the group are repeated. ``"drop"``: such rows are
        left out, and so are groups smaller than a set. How many these are, ``repr`` tells.
    chunk_size
        Consecutive rows of a group that come together; divides ``set_size``. Default: ``set_size`` where the rows of a
        group lie in runs of at least as many, else 1.
    preload_nbatches
        Batches per window. Default: as many as have about 16,000 rows.
    drop_last
        Whether a last batch of fewer than ``sets_per_batch`` sets is left out.
    mask
        Rows to sample from: a slice, a boolean mask, row numbers, a :class:`RowSet`, or a part of a :func:`split`.
    rng
        Generator or seed; one integer is drawn from it now, and is the sampler's seed from then on.

    Raises
    ------
    ValueError
        If an argument is out of range, or no group has rows.
    KeyError
        If ``obs`` lacks a column of ``groups``, when a loader gets its data.
    TypeError
        If ``groups`` are floating-point numbers, or not columns.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from annbatch import Loader
    >>> from annbatch.samplers import SetSampler
    >>> obs = pd.DataFrame(
    ...     {"drug": ["a", "b"] * 50}, index=[f"cell {row}" for row in range(100)]
    ... )
    >>> sampler = SetSampler("drug", set_size=8, sets_per_batch=2, rng=0)
    >>> loader = Loader(batch_sampler=sampler).add_dataset(np.zeros((100, 3)), obs=obs)
    >>> batch = next(iter(loader))
    >>> batch["X"].shape, len(batch["group"])
    ((16, 3), 2)
    >>> list(loader.groups["drug"][batch["group"]]) == list(batch["obs"]["drug"][::8])
    True
    """

    def __init__(
        self,
        groups: GroupsLike,
        *,
        set_size: int | None = 64,
        sets_per_batch: int = 16,
        group_weights: Literal["uniform"] | np.ndarray | pd.Series | Mapping[Any, float] | None = None,
        n_sets: int | None = None,
        replacement: bool = False,
        small: Small = "pad",
        chunk_size: int | None = None,
        preload_nbatches: int | None = None,
        drop_last: bool = False,
        mask: RowsLike | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self._columns, self._group_names = ObsColumns.of(groups)
        self.set_size = None if set_size is None else whole(set_size, "set_size")
        self.sets_per_batch = whole(sets_per_batch, "sets_per_batch")
        check_positive(sets_per_batch=self.sets_per_batch, set_size=1 if set_size is None else self.rows_per_set)
        check_choice("small", small, get_args(Small))
        self._small, self._replacement = small, flag(replacement, "replacement")
        if set_size is None and replacement:
            raise ValueError("`replacement` must be False where set_size is None: a set has all rows of its group.")
        self._given_chunk_size = None if chunk_size is None else self._checked_chunk_size(chunk_size)
        self._n_sets = None if n_sets is None else whole(n_sets, "n_sets")
        if self._n_sets is not None:
            check_positive(n_sets=self._n_sets)
            if group_weights is None and not replacement:
                raise ValueError(
                    "`n_sets` must be left out where neither `group_weights` nor `replacement` is given, got "
                    f"{n_sets}: an epoch is then as many sets as rows fill; group_weights='uniform' draws groups."
                )
        self._group_weights = group_weights
        if preload_nbatches is None:
            preload_nbatches = max(1, _WINDOW_ROWS // (self.sets_per_batch * self._rows_read_per_set()))
        preload_nbatches = whole(preload_nbatches, "preload_nbatches")
        check_positive(preload_nbatches=preload_nbatches)
        # To the base class, a set is a row.
        super().__init__(
            self.sets_per_batch, preload_nbatches, self.sets_per_batch, drop_last=drop_last, mask=mask, rng=rng
        )
        self._ready: _Sets | None = None
        if not self.obs_columns():
            self._sets(len(self._columns.given))

    @property
    def rows_per_set(self) -> int:  # type: ignore[override]  # known once made
        """Rows per set; 1 where sets differ."""
        return 1 if self.set_size is None else self.set_size

    @property
    def batch_size(self) -> int | None:  # type: ignore[override]  # differs where sets do
        """Rows per batch; None where sets differ in size."""
        return None if self.set_size is None else self.set_size * self.sets_per_batch

    @property
    def shuffle(self) -> bool:
        """True, as sets come in random order."""
        return True

    @property
    def mask(self) -> slice | RowSet:
        """Rows to sample from."""
        return self._mask

    @mask.setter
    def mask(self, value: RowsLike) -> None:
        self._mask, self._ready = check_mask(value), None

    @property
    def groups(self) -> pd.DataFrame:
        """One row per group, in the order of its numbers in ``batch["group"]``.

        Raises
        ------
        ValueError
            If they are columns of a loader's data, and this sampler is of no loader: its ``groups`` has them.
        """
        return self._grouped().table

    def drawn_groups(self) -> np.ndarray:
        """Return whether sets of each group are drawn, in the order of ``groups``."""
        one = self._sets(self._grouped().n_obs)
        drawn: np.ndarray = one.per_pass > 0 if one.weights is None else one.weights > 0
        return drawn

    def obs_columns(self) -> list[str]:
        return self._columns.missing(self._group_names)

    def with_obs(self, obs: pd.DataFrame) -> Self:
        made = copy(self)
        made._columns, made._ready = ObsColumns(self._columns.given, obs), None
        return made

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` unless there are groups of ``n_obs`` rows, of which a set can be made."""
        self._sets(n_obs)

    def n_batches(self, n_obs: int) -> int:
        """Return the number of batches of one epoch over ``n_obs`` rows."""
        return super().n_batches(n_obs)

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches."""
        one = self._sets(len(self._grouped().codes))
        own: dict[str, Any] = {"set_size": self.set_size, "sets_per_batch": self.sets_per_batch, "n_sets": self._n_sets}
        own |= {"chunk_size": one.chunk_size, "small": self._small, "replacement": self._replacement}
        return super().identity() | own | one.digests | {"seed": self.order_seed()}

    def for_ranks(self, n_ranks: int) -> Self:
        if self._n_sets is None:
            return self
        made = copy(self)
        made._n_sets = self._n_sets * n_ranks
        return made

    def __repr__(self) -> str:
        size = "all rows of a group" if self.set_size is None else f"{self.set_size} rows of a group"
        text = f"{type(self).__name__}({self.sets_per_batch} sets per batch of {size}"
        if self.obs_columns() and self._columns.lent is None:
            return f"{text})"
        self._sets(self._grouped().n_obs)
        return f"{text}; {self._told()})"

    # How an epoch is drawn --------------------------------------------------------------------------------------------

    def _checked_chunk_size(self, chunk_size: Any) -> int:
        size = whole(chunk_size, "chunk_size")
        check_positive(chunk_size=size)
        if self.set_size is None or self.set_size % size:
            raise ValueError(f"`chunk_size` must divide set_size {self.set_size}, got {size}.")
        return size

    def _rows_read_per_set(self) -> int:
        return _WINDOW_ROWS if self.set_size is None else self.set_size

    def _grouped(self) -> Groups:
        return (
            Groups.of(self._columns.frame(self._group_names, "groups")) if self._ready is None else self._ready.groups
        )

    def _sets(self, n_obs: int) -> _Sets:
        """Return the rows of the groups of ``n_obs`` rows, prepared once."""
        if self._ready is None or self._ready.groups.n_obs != n_obs:
            groups = self._grouped()
            if groups.n_obs != n_obs:
                raise ValueError(f"`groups` must have one row per row of the loader ({n_obs}), got {groups.n_obs}.")
            self._ready = self._prepared(groups, self._targets(groups))
            _log.info("%s: %s", type(self).__name__, self._told())
        return self._ready

    def _targets(self, groups: Groups) -> RowSet:
        """Return the rows that sets are made of, some of which may have no group."""
        return self._rows(groups.n_obs)

    def _prepared(self, groups: Groups, rows: RowSet) -> _Sets:
        drawn = GroupRows(rows, groups.codes, len(groups))
        per_set = self.rows_per_set
        chunk_size = self._given_chunk_size
        if chunk_size is None:
            chunk_size = per_set if drawn.mean_run >= per_set else 1
        if self.set_size is None:
            per_pass = np.minimum(drawn.counts, 1)
        else:
            fill = drawn.counts + (per_set - 1) * (self._small == "pad")
            per_pass = fill // per_set
        weights = groups.weights(self._group_weights)
        if weights is not None:
            weights = np.where(per_pass > 0, weights, 0.0)
        if not (per_pass.any() if weights is None else weights.any()):
            many = f"of at least {per_set} rows" if self._small == "drop" else "with rows"
            weighted = "" if weights is None else " and positive weight"
            raise ValueError(f"`groups` must have a group {many}{weighted} in the mask, got none of {len(groups)}.")
        return _Sets(groups, drawn, per_pass, weights, chunk_size)

    def _told(self) -> str:
        """Return how many groups there are, and how many lack rows."""
        one = self._ready
        assert one is not None
        there = one.rows.counts[one.rows.counts > 0]
        few = "" if self.set_size is None else _few_text(there, self.set_size, self._small)
        return f"{len(there):,} groups{few}"

    def _n_samples(self, n_obs: int) -> int:
        return self._sets(n_obs).n_sets if self._n_sets is None else self._n_sets

    def _open(self, n_obs: int, epoch: int) -> Draw:
        one, n_sets = self._sets(n_obs), self._n_samples(n_obs)
        rng = keyed_rng(self.order_seed(), epoch, ORDER)
        if one.weights is None and not self._replacement:
            groups = rng.permutation(np.repeat(np.arange(len(one.per_pass)), one.per_pass))
        else:
            weights = one.rows.counts * (one.per_pass > 0) if one.weights is None else one.weights
            groups = rng.choice(len(weights), size=n_sets, p=weights / weights.sum())
        return partial(self._drawn_window, one, epoch, groups, occurrences(groups))

    def _drawn_window(
        self, one: _Sets, epoch: int, groups: np.ndarray, numbers: np.ndarray, window: int, n_sets: int
    ) -> LoadRequest:
        first = window * self._chunk_size * self._preload_nchunks
        which = slice(first, first + n_sets)
        groups, numbers = groups[which], numbers[which]
        rows, lengths = self._rows_of_sets(one, epoch, groups, numbers, np.arange(which.start, which.stop))
        return self._request_of(groups, rows, lengths)

    def _rows_of_sets(
        self, one: _Sets, epoch: int, groups: np.ndarray, numbers: np.ndarray, of_epoch: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of sets, one set after the other, and the number of each set's rows."""
        size, seed = self.set_size, self.order_seed()
        if size is None:
            lengths = one.rows.counts[groups]
            return one.rows.rows(
                np.repeat(groups, lengths), concatenated_ranges(np.zeros_like(lengths), lengths)
            ), lengths
        lengths = np.full(len(groups), size)
        if self._replacement:
            keys = keys_of(seed, epoch, ROWS, of_epoch)
            n_chunks = size // one.chunk_size
            return one.rows.drawn_again(groups, keys, chunk_size=one.chunk_size, n_chunks=n_chunks), lengths
        passes, within = np.divmod(numbers, one.per_pass[groups])
        keys = np.repeat(keys_of(seed, epoch, ROWS, groups, passes), size)
        places = np.repeat(within * size, size) + np.tile(np.arange(size), len(groups))
        return one.rows.drawn(np.repeat(groups, size), places, keys, chunk_size=one.chunk_size), lengths

    def _request_of(self, groups: np.ndarray, rows: np.ndarray, lengths: np.ndarray) -> LoadRequest:
        edges = np.concatenate([[0], np.cumsum(lengths)])
        starts = range(0, len(groups), self.sets_per_batch)
        batches = [slice(start, min(start + self.sets_per_batch, len(groups))) for start in starts]
        extras = {"group": [groups[batch] for batch in batches]}
        if self.set_size is None:
            extras["sets"] = [edges[batch.start : batch.stop + 1] - edges[batch.start] for batch in batches]
        splits = [np.arange(edges[batch.start], edges[batch.stop]) for batch in batches]
        return {"requests": rows, "splits": splits, "extras": extras}


@dataclass(frozen=True, eq=False)
class _Sets:
    """What sets are made of.

    Attributes
    ----------
    groups
        Groups of all rows.
    rows
        Rows of each group.
    per_pass
        ``(n_groups,)`` sets that the rows of a group fill, once each.
    weights
        ``(n_groups,)`` weights of groups; None: in proportion.
    chunk_size
        Consecutive rows that come together.
    """

    groups: Groups
    rows: GroupRows
    per_pass: np.ndarray
    weights: np.ndarray | None
    chunk_size: int

    @property
    def n_sets(self) -> int:
        """Sets that all rows fill."""
        return int(self.per_pass.sum())

    @cached_property
    def digests(self) -> dict[str, str | None]:
        """What identifies groups and weights; kept, as states are taken often."""
        weights = None if self.weights is None else digest(self.weights.astype("<f8"))
        return {"groups": self.groups.digest(), "group_weights": weights}


def _few_text(counts: np.ndarray, size: int, small: Small) -> str:
    n_small = int((counts < size).sum())
    n_rows = int((counts % size if small == "drop" else -counts % size).sum())
    of_few = f"{n_small:,} of fewer than {size} rows; " if n_small else ""
    what = "left out" if small == "drop" else "repeated"
    return f", {of_few}{n_rows:,} rows {what} where they do not fill sets" if n_rows else ""
