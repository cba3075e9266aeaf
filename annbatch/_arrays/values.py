"""One-dimensional arrays from which values are taken by position: in memory, or by range from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .byte_count import count_bytes

if TYPE_CHECKING:
    from .array import StoredArray

HELD_BYTES = 64 << 20
"""A stored array up to this size is read once and kept in memory; a larger one is read by range for each window."""


class HeldValues:
    """An array in memory."""

    def __init__(self, values: np.ndarray) -> None:
        self.dtype = values.dtype
        self.size = len(values)
        self._values = values

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values at positions that ascend and may repeat."""
        taken: np.ndarray = self._values[at]
        return taken

    def pairs(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values at positions, and those that follow them."""
        return self._values[at], self._values[at + 1]


class StoredValues:
    """A stored array of numbers: kept in memory from its first use if it is small, read by range otherwise."""

    def __init__(self, array: StoredArray) -> None:
        self.dtype = array.dtype
        self.size = array.shape[0]
        self._array = array
        self._held: HeldValues | None = None

    def take(self, at: np.ndarray) -> np.ndarray:
        """Return the values at positions that ascend and may repeat."""
        held = self._hold_if_small()
        if held is not None:
            return held.take(at)
        values, place = self._runs(at, beyond=0)
        taken: np.ndarray = values[place]
        return taken

    def pairs(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values at positions that ascend and may repeat, and those that follow them."""
        held = self._hold_if_small()
        if held is not None:
            return held.pairs(at)
        values, place = self._runs(at, beyond=1)
        return values[place], values[place + 1]

    def _hold_if_small(self) -> HeldValues | None:
        if self._held is None and self.size * self.dtype.itemsize <= HELD_BYTES:
            self._held = HeldValues(self._read(np.array([0]), np.array([self.size])))
        return self._held

    def _runs(self, at: np.ndarray, *, beyond: int) -> tuple[np.ndarray, np.ndarray]:
        """Read runs of adjacent positions, ``beyond`` values more each; return them and the index of each position."""
        first, run = cut_at_gaps(at)
        last = np.append(first[1:], len(at)) - 1
        start = at[first]
        length = at[last] - start + 1 + beyond
        offset = np.cumsum(length) - length
        return self._read(start, length), offset[run] + at - start[run]

    def _read(self, start: np.ndarray, length: np.ndarray) -> np.ndarray:
        values, n_bytes = self._array.read(start, length)
        count_bytes(n_bytes)
        return values


def cut_at_gaps(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut ascending positions where one is skipped: return where each run begins, and the run of each position."""
    if not len(at):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    cut = np.diff(at) > 1
    return np.append(0, np.flatnonzero(cut) + 1), np.append(0, np.cumsum(cut))


def first_rounded(values: np.ndarray, dtype: np.dtype) -> int | None:
    """Return the first integer that is rounded when ``values`` are cast to ``dtype``, a common dtype; None for none."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize < 8 or dtype.kind not in "fc":
        return None
    floats = values.astype(np.float64)
    inside = floats < float(np.iinfo(values.dtype).max)  # rounded up, to the first float that is out of range
    wrong = ~inside | (np.where(inside, floats, 0).astype(values.dtype) != values)
    return int(values[wrong][0]) if wrong.any() else None
