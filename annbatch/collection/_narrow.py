"""The smallest integer type that holds every value of an element exactly, found while blocks pass by.

An element is narrowed only where that saves space and every single value comes back bit for bit: one fraction,
infinity, NaN or negative zero, and it stays as it is.
"""

from __future__ import annotations

import numba as nb
import numpy as np

CANDIDATES = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "u4", "i4"))
_PIECE = 1 << 16  # values looked at before giving a type up: the common refusal, a fraction, shows in the first ones


@nb.njit(nogil=True, cache=True)
def _narrow_floats(
    values: np.ndarray, bits: np.ndarray, low: np.floating, high: np.floating, zero: np.floating, out: np.ndarray
) -> bool:
    """Cast ``values`` to integers; return whether all came through, negative zero (``bits``) told from zero."""
    exact = True
    for i in range(values.size):
        inside = (values[i] >= low) & (values[i] <= high)
        number = values[i] if inside else zero  # what lies outside has no defined cast
        out[i] = number
        exact &= inside & (zero + out[i] == number) & ((out[i] != 0) | (bits[i] == 0))
    return exact


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
            if not _narrow_floats(piece, piece.view(f"u{piece.dtype.itemsize}"), kind(limits.min), high, kind(0), to):
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
        What the element's values come back as: the common type of all inputs.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.collection._narrow import Narrowing
    >>> counts = Narrowing(np.dtype("float32"))
    >>> counts.narrow(np.array([0, 3, 200], np.float32)).dtype
    dtype('uint8')
    >>> counts.narrow(np.array([-1], np.float32)).dtype
    dtype('int16')
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

    @property
    def dtype(self) -> np.dtype:
        """The smallest type that holds every value so far exactly: what the element is stored in."""
        smallest = smallest_integer(self._low, self._high) if self._exact else None
        return smallest if smallest is not None and smallest.itemsize < self.source.itemsize else self.source

    def narrow(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` in the type that all blocks so far fit, this one included.

        Earlier blocks may have come back in a smaller one; ``astype(dtype)`` is exact for them.
        """
        if self._exact:
            flat = np.ascontiguousarray(values).reshape(-1)
            narrow = self._try(flat.astype(np.float32) if flat.dtype == np.float16 else flat)
            if narrow is not None:
                return narrow.astype(self.dtype, copy=False).reshape(values.shape)
        return values.astype(self.dtype, copy=False)

    def _try(self, flat: np.ndarray) -> np.ndarray | None:
        if not flat.size:
            return flat.astype(self.dtype)
        if flat.dtype.kind == "b":
            flat = flat.view(np.uint8)
        first = smallest_integer(self._low, self._high)
        out = np.empty(flat.size, np.uint8)
        for dtype in CANDIDATES[CANDIDATES.index(first) if first else 0 :]:
            if dtype.itemsize >= self.source.itemsize:
                break
            if out.itemsize != dtype.itemsize:
                out = np.empty(flat.size, dtype)
            if _fits(flat, dtype, out.view(dtype)):
                out = out.view(dtype)
                self._low = min(self._low, int(out.min()))
                self._high = max(self._high, int(out.max()))
                return out if smallest_integer(self._low, self._high) is not None else None
        self._exact = False
        return None
