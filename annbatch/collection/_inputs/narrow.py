"""Exact dtypes: the smallest integer dtype for an element, found as its blocks are read, and checked casts.

An element is narrowed only if that saves space and returns every value bit for bit: with a single fraction, infinity,
NaN or negative zero, it keeps its dtype. A cast to the common dtype of all inputs never changes an integer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..._arrays.values import first_rounded
from ..._kernels.narrow import narrow_floats
from .._resources.pages import populate

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._resources.pages import RowMemory
    from .flat_array import Take

CANDIDATES = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4"))
_PIECE = 1 << 16  # values per test of a dtype: most elements that do not fit have fractions among the first values


class InexactError(ValueError):
    """A value that a dtype does not hold exactly."""

    def __init__(self, value: int, dtype: np.dtype) -> None:
        super().__init__(f"must hold integers that are exact in {dtype}, the common dtype of all inputs, got {value}")


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return ``values`` as ``dtype``, the common dtype of all inputs; themselves if they have it already.

    Raises
    ------
    InexactError
        If an integer is not exact in ``dtype``.
    """
    rounded = first_rounded(values, dtype)
    if rounded is not None:
        raise InexactError(rounded, dtype)
    out: np.ndarray = values.astype(dtype, copy=False)
    return out


def narrowable(dtype: np.dtype) -> bool:
    """Return whether a smaller integer dtype could hold values of ``dtype``."""
    return dtype.kind in "iuf" and 1 < dtype.itemsize <= 8


def smallest_integer(low: int, high: int) -> np.dtype | None:
    """Return the smallest dtype, unsigned if possible, that holds ``low`` to ``high``; None beyond 32 bits."""
    for dtype in CANDIDATES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return None


class Narrowing:
    """Narrows the blocks of one element as they are read, and finds the dtype that fits all of them.

    Parameters
    ----------
    dtype
        Dtype in which the values are returned: the common dtype of all inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.collection._inputs.narrow import Narrowing
    >>> counts = Narrowing(np.dtype("float32"))
    >>> counts.narrow(np.array([0, 3, 200], np.float32)).dtype
    dtype('uint8')
    >>> counts.narrow(np.array([-1], np.float32)).dtype
    dtype('int8')
    >>> counts.dtype
    dtype('int16')
    """

    def __init__(self, dtype: np.dtype, state: tuple[bool, int, int] | None = None) -> None:
        self.source = dtype
        self._exact, self._low, self._high = state or (narrowable(dtype), 0, 0)

    @property
    def state(self) -> tuple[bool, int, int]:
        """Whether all values so far were integers, the lowest and the highest: enough to resume."""
        return self._exact, self._low, self._high

    def merge(self, state: tuple[bool, int, int]) -> None:
        """Add the state of another narrowing of the same element."""
        exact, low, high = state
        self._exact &= exact
        self._low, self._high = min(self._low, low), max(self._high, high)

    @property
    def dtype(self) -> np.dtype:
        """The smallest dtype that holds every value so far exactly: the stored dtype."""
        smallest = smallest_integer(self._low, self._high) if self._exact else None
        return smallest if smallest is not None and smallest.itemsize < self.source.itemsize else self.source

    def narrow(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` in a dtype that holds them exactly.

        Blocks may differ in dtype; ``astype(dtype)`` is exact for all of them.
        """
        if not self._exact:
            return cast(values, self.source)
        flat = np.ascontiguousarray(values).reshape(-1)

        def each(take: Take) -> None:
            take(0, flat)

        return self.fill(flat.size, each).reshape(values.shape)

    def fill(self, size: int, each: Callable[[Take], None], memory: RowMemory | None = None) -> np.ndarray:
        """Return an array of ``size`` values, read in pieces, in a dtype that holds them exactly.

        Parameters
        ----------
        size
            Number of values.
        each
            Calls its argument with each piece: its offset and its values; several threads may do so at once.
            Stops when that returns False; is called again if a dtype proves too small.
        memory
            Lends the array; None to allocate a new one.
        """
        empty = np.empty if memory is None else memory.untouched
        dtype = smallest_integer(self._low, self._high) if self._exact else None
        while dtype is not None and dtype.itemsize < self.source.itemsize:
            out = empty(size, dtype)
            bounds: list[tuple[int, int]] = []
            misfits: list[np.ndarray] = []
            each(partial(_take, out, bounds, misfits))
            if not misfits:
                self._low = min([self._low, *(low for low, _ in bounds)])
                self._high = max([self._high, *(high for _, high in bounds)])
                return out
            dtype = _next(dtype, misfits)
        self._exact = False
        out = empty(size, self.source)

        def copy(offset: int, values: np.ndarray) -> bool:
            populate(to := out[offset : offset + values.size])
            to[...] = cast(values, self.source)
            return True

        each(copy)
        return out


def _take(
    out: np.ndarray, bounds: list[tuple[int, int]], misfits: list[np.ndarray], offset: int, values: np.ndarray
) -> bool:
    """Cast a piece into ``out`` and append its bounds; or append it to ``misfits`` if it does not fit."""
    to = out[offset : offset + values.size]
    values = _plain(values)
    if not values.size:
        return True
    populate(to)
    if not _fits(values, out.dtype, to):
        misfits.append(values.copy())
        return False
    bounds.append((int(to.min()), int(to.max())))
    return True


def _fits(values: np.ndarray, dtype: np.dtype, out: np.ndarray) -> bool:
    """Cast to ``out``, and return whether every value is unchanged."""
    limits = np.iinfo(dtype)
    if values.dtype.kind == "f":
        kind = values.dtype.type
        # The largest float within the dtype's limit; float32(2**31 - 1) would round up to 2**31.
        high = kind(limits.max)
        if int(high) > limits.max:
            high = np.nextafter(high, kind(0))
        return narrow_floats(values, values.view(f"u{values.dtype.itemsize}"), kind(limits.min), high, kind(0), out)
    for start in range(0, values.size, _PIECE):
        piece = values[start : start + _PIECE]
        if int(piece.min()) < limits.min or int(piece.max()) > limits.max:
            return False
        out[start : start + _PIECE] = piece
    return True


def _plain(values: np.ndarray) -> np.ndarray:
    """Return values in a dtype that the kernel supports: numba has no float16 on the CPU."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _next(dtype: np.dtype, misfits: list[np.ndarray]) -> np.dtype | None:
    """Return the next dtype that holds what did not fit ``dtype``; None if none does."""
    for candidate in CANDIDATES[CANDIDATES.index(dtype) + 1 :]:
        if all(_fits(values, candidate, np.empty(values.size, candidate)) for values in misfits):
            return candidate
    return None
