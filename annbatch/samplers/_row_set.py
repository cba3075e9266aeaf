"""Sets of rows: what a sampler samples from."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.ranges import concatenated_ranges
from ._checks import digest, whole

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Rows as runs of consecutive row numbers, 16 bytes per run.

    Attributes
    ----------
    starts
        ``(n_runs,)`` int64 first row number of each run.
    offsets
        ``(n_runs + 1,)`` int64 position of each run's first row among all rows, and the number of rows.
    """

    starts: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray) -> Runs:
        """Return rows as runs, in the given order."""
        first = np.flatnonzero(np.concatenate([[len(rows) > 0], np.diff(rows) != 1]))
        return cls(rows[first], np.append(first, len(rows)))

    @classmethod
    def of_mask(cls, mask: np.ndarray) -> Runs:
        """Return the rows of a boolean mask as runs, without a list of them."""
        padded = np.zeros(len(mask) + 2, dtype=bool)
        padded[1:-1] = mask
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        return cls(edges[::2].copy(), np.append(0, np.cumsum(edges[1::2] - edges[::2])))

    def __len__(self) -> int:
        return int(self.offsets[-1])

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at ``positions``, int64."""
        if len(self.starts) == 1:
            only: np.ndarray = self.starts[0] + positions
            return only
        run = np.searchsorted(self.offsets, positions, side="right") - 1
        rows: np.ndarray = self.starts[run] + positions - self.offsets[run]
        return rows


class RowSet:
    """A set of rows, in the order in which they are stored.

    Every sampler accepts one as its ``mask``, and anything from which one can be made. It is kept as runs of
    consecutive rows, 16 bytes per run.

    Parameters
    ----------
    rows
        A slice, a boolean mask, or an array of row numbers, in any order, none twice.
    n_obs
        Total number of rows, if known: larger row numbers are refused, and a slice may be open. For a boolean mask, it
        is the length of the mask.

    Raises
    ------
    TypeError
        If ``rows`` is anything else.
    ValueError
        If a row number is negative, beyond ``n_obs`` or repeated, there are no rows, or a slice has a step.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.samplers import RowSet
    >>> rows = RowSet(np.array([True, True, False, True]))
    >>> len(rows), np.asarray(rows).tolist()
    (3, [0, 1, 3])
    >>> RowSet([7, 5, 6])
    RowSet(3 rows in 1 run, 5..7)
    """

    __slots__ = ("_digest", "_runs", "n_obs")

    def __init__(self, rows: RowsLike, n_obs: int | None = None) -> None:
        n_obs = None if n_obs is None else whole(n_obs, "n_obs", least=0)
        self.n_obs: int | None = None
        self._digest: str | None = None
        self._runs: Runs
        if isinstance(rows, RowSet):
            self.n_obs = rows.n_obs
            self._runs = rows._runs
        elif isinstance(rows, slice):
            start, stop = _range_of(rows, n_obs)
            self._runs = Runs(np.array([start]), np.array([0, stop - start]))
        else:
            array = np.asarray(rows)
            if array.dtype.kind == "b" and array.ndim == 1 and array.any():
                self.n_obs = len(array)
                self._runs = Runs.of_mask(array)
            else:
                self._runs = Runs.of(_ascending(array))
        if n_obs is not None:
            self._check(n_obs)

    def _check(self, n_obs: int) -> None:
        if self.n_obs not in (None, n_obs):
            raise ValueError(f"`rows` must have one entry per row of the loader ({n_obs}), got {self.n_obs}.")
        if self.stop > n_obs:
            raise ValueError(f"`rows` must name rows of the loader's 0..{n_obs}, got {self.stop - 1}.")
        self.n_obs = n_obs

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def stop(self) -> int:
        """Number of the last row, plus 1."""
        return int(self.at(np.array([len(self) - 1]))[0]) + 1

    @property
    def is_range(self) -> bool:
        """Whether the rows are a single run."""
        return len(self._runs.starts) == 1

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Return the rows at ``positions`` in the set, int64."""
        return self._runs.at(positions)

    def stretches(self, starts: np.ndarray, lengths: np.ndarray) -> list[slice] | np.ndarray:
        """Return the rows of stretches of positions, in the form of a request.

        Parameters
        ----------
        starts, lengths
            ``(n,)`` int64; positions in the set, and numbers of rows.

        Returns
        -------
        list of slice or numpy.ndarray
            One slice per stretch if the set is one run; else row numbers, one stretch after the other.
        """
        if self.is_range:
            first = self.at(starts)
            return [slice(a, a + n) for a, n in zip(first.tolist(), lengths.tolist(), strict=True)]
        return self.at(concatenated_ranges(starts, lengths))

    def digest(self) -> str:
        """Return a short text that identifies the rows, the same in every process."""
        if self.is_range:
            return f"{self.stop - len(self)}:{self.stop}"
        if self._digest is None:  # kept: states are taken often
            self._digest = digest(np.concatenate([self._runs.starts, self._runs.offsets]).astype("<i8"))
        return self._digest

    def __iter__(self) -> Iterator[int]:
        return iter(np.asarray(self).tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = concatenated_ranges(self._runs.starts, np.diff(self._runs.offsets))
        array: np.ndarray = rows if dtype is None else rows.astype(dtype)
        return array

    def __repr__(self) -> str:
        n_runs = len(self._runs.starts)
        runs = f"{n_runs:,} run{'s' * (n_runs > 1)}"
        return f"RowSet({len(self):,} rows in {runs}, {self._runs.starts[0]}..{self.stop - 1})"


RowsLike = slice | np.ndarray | list[int] | list[bool] | RowSet
"""Rows as users name them."""


@contextmanager
def called(name: str) -> Iterator[None]:
    """Have errors about rows name the argument that they were given as."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("`rows", f"`{name}").replace("< rows.stop", f"< {name}.stop")) from None


def check_mask(mask: RowsLike | None) -> slice | RowSet:
    """Return ``mask`` as samplers keep it: a set, or a slice with its start filled in, which may be open."""
    with called("mask"):
        return as_rows(mask)


def as_rows(mask: RowsLike | None) -> slice | RowSet:
    """Return rows as samplers keep them, as :func:`check_mask` does; errors are about ``rows``."""
    if mask is None:
        return slice(0, None)
    if not isinstance(mask, slice):
        return RowSet(mask)
    if mask.step not in (None, 1):
        raise ValueError(f"`rows.step` must be 1, got {mask.step}.")
    start = 0 if mask.start is None else whole(mask.start, "rows.start")
    if start < 0:
        raise ValueError(f"`rows.start` must be >= 0, got {start}.")
    stop = None if mask.stop is None else whole(mask.stop, "rows.stop")
    if stop is not None and start >= stop:
        raise ValueError(f"`rows.start` must be < rows.stop, got {start} and {stop}.")
    return slice(start, stop)


def mask_text(mask: slice | RowSet) -> str:
    """Return a short text that identifies the rows of a mask, the same in every process."""
    if isinstance(mask, RowSet):
        return mask.digest()
    start, stop = mask.start or 0, mask.stop
    return f"{start}:" if stop is None else f"{start}:{stop}"


def _range_of(rows: slice, n_obs: int | None) -> tuple[int, int]:
    checked = as_rows(rows)
    assert isinstance(checked, slice)
    if n_obs is None:
        if checked.stop is None:
            raise ValueError(f"`rows.stop` must be given where n_obs is not, got {rows}.")
        return checked.start, checked.stop
    stop = n_obs if checked.stop is None else checked.stop
    if stop > n_obs:
        raise ValueError(f"`rows.stop` must be at most the loader's n_obs {n_obs}, got {stop}.")
    if checked.start >= stop:
        raise ValueError(f"`rows.start` must be < the loader's n_obs {n_obs}, got {checked.start}.")
    return checked.start, stop


def _ascending(array: np.ndarray) -> np.ndarray:
    """Return row numbers, ascending; raise for anything that is neither these nor a mask of any rows."""
    if array.ndim != 1 or array.dtype.kind not in "biu":
        raise TypeError(
            "`rows` must be a slice, a boolean mask, or an array of row numbers, "
            f"got {array.ndim} dimensions of {array.dtype}."
        )
    rows: np.ndarray = np.sort(array.astype(np.int64))
    if not len(rows) or array.dtype.kind == "b":
        raise ValueError(f"`rows` must name at least one row, got none of {len(array)}.")
    if rows[0] < 0:
        raise ValueError(f"`rows` must name rows by numbers from 0, got {rows[0]}.")
    repeated = rows[:-1][np.diff(rows) == 0]
    if len(repeated):
        raise ValueError(f"`rows` must name no row twice, got row {repeated[0]} again.")
    return rows
