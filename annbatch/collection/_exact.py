"""Casts that lose nothing. NumPy unites 64-bit integers with floats as float64, which rounds beyond 2**53."""

from __future__ import annotations

import numpy as np


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
