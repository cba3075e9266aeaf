"""Moments of the columns of a matrix, added up part by part."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class ColumnSums:
    """What kernels add the values of some rows to; see :func:`~annbatch._kernels.moments.add_moments`.

    Attributes
    ----------
    n_columns
        Number of columns.
    small, others, state
        The arrays of the kernel.
    """

    n_columns: int
    small: np.ndarray = field(init=False)
    others: np.ndarray = field(init=False)
    state: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "small", np.zeros(self.n_columns, np.int64))
        object.__setattr__(self, "others", np.zeros((self.n_columns, 4)))
        object.__setattr__(self, "state", np.zeros(3, np.int64))

    def arguments(self, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the last arguments of the kernel."""
        return columns, self.small, self.others, rows, self.state

    def clear(self) -> None:
        """Forget all values."""
        for one in (self.small, self.others, self.state):
            one[:] = 0


class Moments:
    """Moments of the values of each column that are not zero.

    Parameters
    ----------
    n_columns
        Number of columns.
    """

    def __init__(self, n_columns: int) -> None:
        self._small = np.zeros((3, n_columns), np.int64)
        self._others = np.zeros((3, n_columns))

    def add(self, sums: ColumnSums) -> None:
        """Add the values that were added to some sums."""
        from .._kernels.moments import OTHERS, unpacked

        self._small += unpacked(sums.small)
        if sums.state[OTHERS]:
            count, first, total, squares = sums.others.T
            self._others[:] = _joined(self._others, (count, count * first + total, _centred(count, total, squares)))

    def join(self, other: Moments) -> None:
        """Add the values that were added to other moments, of other rows."""
        self._small += other._small
        self._others[:] = _joined(self._others, other._others)

    def of_rows(self, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the number of non-zeros, the sum of all values, and that of their squared deviations from the mean.

        Parameters
        ----------
        n_rows
            Number of rows that were added up; all their other values are zero.
        """
        count, total, squares = self._small.astype(np.float64)
        found = _joined((count, total, _centred(count, total, squares)), self._others)
        zeros = np.zeros_like(total)
        count, total, squares = _joined(found, (n_rows - found[0], zeros, zeros))
        return found[0], total, squares


class GroupMoments:
    """Moments of the columns of one group of rows, in little memory until many rows have been added.

    Parameters
    ----------
    n_columns
        Number of columns.
    """

    def __init__(self, n_columns: int) -> None:
        self._sums = ColumnSums(n_columns)
        self._moments: Moments | None = None
        self._n_rows = 0

    def sums(self, n_rows: int) -> ColumnSums:
        """Return the sums that the next rows are added to, at most 16,384."""
        from .._kernels.moments import MOST_ROWS

        if self._n_rows + n_rows > MOST_ROWS:
            self._moments = self.moments()
            self._sums.clear()
            self._n_rows = 0
        self._n_rows += n_rows
        return self._sums

    def moments(self) -> Moments:
        """Return the moments of all rows that were added. Call it last, and once."""
        moments = self._moments or Moments(self._sums.n_columns)
        moments.add(self._sums)
        return moments


Parts = tuple[np.ndarray, ...] | np.ndarray


def _joined(one: Parts, other: Parts) -> Parts:
    """Return count, total and squared deviations of both together, by Chan, Golub and LeVeque's formula (1983)."""
    count = one[0] + other[0]
    with np.errstate(invalid="ignore"):  # infinite values have no variance
        apart = _divided(one[1], one[0]) - _divided(other[1], other[0])
        between = apart * apart * _divided(one[0] * other[0], count)
        return count, one[1] + other[1], one[2] + other[2] + between


def _centred(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return the sum of squared deviations from the mean."""
    with np.errstate(invalid="ignore"):
        centred: np.ndarray = np.maximum(squares - _divided(total * total, count), 0)
    return centred


def _divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return quotients, and 0 where there is nothing to divide by."""
    quotients: np.ndarray = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    return quotients
