"""The smallest integer type that holds every value of an element exactly, found while blocks pass by.

An element is narrowed only where that saves space and every single value comes back bit for bit: one fraction,
infinity, NaN or negative zero, and its dtype is kept.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..._kernels.narrow import narrow_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._resources.pages import RowMemory

    Take = Callable[[int, np.ndarray], bool]

CANDIDATES = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4"))
_PIECE = 1 << 16  # values looked at before giving a type up: the common refusal, a fraction, shows in the first ones


def _fits(values: np.ndarray, dtype: np.dtype, out: np.ndarray) -> bool:
    """Cast to ``out`` and say whether every value is the same there."""
    limits = np.iinfo(dtype)
    for start in range(0, values.size, _PIECE):
        piece, to = values[start : start + _PIECE], out[start : start + _PIECE]
        if values.dtype.kind == "f":
            kind = values.dtype.type
            # The largest float that does not exceed the type's limit; float32(2**31 - 1) would round up to 2**31.
            high = kind(limits.max)
            if int(high) > limits.max:
                high = np.nextafter(high, kind(0))
            if not narrow_floats(piece, piece.view(f"u{piece.dtype.itemsize}"), kind(limits.min), high, kind(0), to):
                return False
        else:
            if int(piece.min()) < limits.min or int(piece.max()) > limits.max:
                return False
            to[...] = piece
    return True


def narrowable(dtype: np.dtype) -> bool:
    """Return whether values of ``dtype`` could be held by a smaller integer type."""
    return dtype.kind in "iuf" and 1 < dtype.itemsize <= 8


def smallest_integer(low: int, high: int) -> np.dtype | None:
    """Return the smallest type, unsigned where it can be, that holds ``low`` to ``high``; None beyond 32 bits."""
    for dtype in CANDIDATES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return None


class Narrowing:
    """Narrows the blocks of one element as they come, and knows in the end which type they all fit.

    Parameters
    ----------
    dtype
        Dtype in which the values are returned: the common dtype of all inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.collection._narrow import Narrowing
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
        """Whether all blocks so far were whole numbers, the lowest and the highest: enough to go on from."""
        return self._exact, self._low, self._high

    def merge(self, state: tuple[bool, int, int]) -> None:
        """Take in what another one has seen."""
        exact, low, high = state
        self._exact &= exact
        self._low, self._high = min(self._low, low), max(self._high, high)

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds every value so far exactly: what the element is stored in."""
        smallest = smallest_integer(self._low, self._high) if self._exact else None
        return smallest if smallest is not None and smallest.itemsize < self.source.itemsize else self.source

    def narrow(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` in a type that holds them exactly.

        Blocks may come back in different ones; ``astype(dtype)`` is exact for all of them.
        """
        if not self._exact:
            return cast(values, self.source)
        flat = np.ascontiguousarray(values).reshape(-1)

        def each(take: Take) -> None:
            take(0, flat)

        return self.fill(flat.size, each).reshape(values.shape)

    def fill(self, size: int, each: Callable[[Take], None], memory: RowMemory | None = None) -> np.ndarray:
        """Return an array of ``size`` values that come in pieces, in a type that holds them exactly.

        Parameters
        ----------
        size
            How many values there are.
        each
            Calls the function that it is given with each piece: its offset, and its values. It may do so on several
            threads at once, stops where that returns False, and is called again if a dtype proves too small.
        memory
            Lends the array; None: it is new.
        """
        empty = np.empty if memory is None else memory.empty
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
            out[offset : offset + values.size] = cast(values, self.source)
            return True

        each(copy)
        return out


def _take(
    out: np.ndarray, bounds: list[tuple[int, int]], misfits: list[np.ndarray], offset: int, values: np.ndarray
) -> bool:
    """Cast a piece into its place and note its bounds; or note that it does not fit."""
    to = out[offset : offset + values.size]
    values = _plain(values)
    if not values.size:
        return True
    if not _fits(values, out.dtype, to):
        misfits.append(values.copy())
        return False
    bounds.append((int(to.min()), int(to.max())))
    return True


def _plain(values: np.ndarray) -> np.ndarray:
    """Return values of a dtype that the kernel knows: numba has no float16 on the CPU."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _next(dtype: np.dtype, misfits: list[np.ndarray]) -> np.dtype | None:
    """Return the next type that holds what did not fit ``dtype``; None if none does."""
    for candidate in CANDIDATES[CANDIDATES.index(dtype) + 1 :]:
        if all(_fits(values, candidate, np.empty(values.size, candidate)) for values in misfits):
            return candidate
    return None


class InexactError(ValueError):
    """A value that a dtype does not hold exactly."""

    def __init__(self, value: int, dtype: np.dtype) -> None:
        super().__init__(f"must hold numbers that {dtype} holds, as all inputs together are stored, got {value}")


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return ``values`` as ``dtype``, their common type with others; themselves if they have it already.

    Raises
    ------
    InexactError
        If one is a whole number that becomes another there.
    """
    out: np.ndarray = values.astype(dtype, copy=False)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and dtype == np.float64:
        inside = out < float(np.iinfo(values.dtype).max)  # which rounds up to the first one that has no way back
        wrong = ~inside | (np.where(inside, out, 0).astype(values.dtype) != values)
        if wrong.any():
            raise InexactError(int(values[wrong][0]), dtype)
    return out
