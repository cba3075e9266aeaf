"""Narrow floats that hold integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .jit import inner, kernel

if TYPE_CHECKING:
    import numpy as np


_STRETCH = 1 << 16
"""Values per test: of most elements that do not hold integers, the first values tell."""


@kernel
def narrow_floats(
    values: np.ndarray, bits: np.ndarray, low: np.floating, high: np.floating, zero: np.floating, out: np.ndarray
) -> bool:
    """Cast ``values`` to integers; return whether all casts are exact. Negative zero, known by ``bits``, is not.

    Ends behind the first stretch of values with a cast that is not exact.
    """
    for start in range(0, values.size, _STRETCH):
        stop = min(start + _STRETCH, values.size)
        if not _narrow(values[start:stop], bits[start:stop], low, high, zero, out[start:stop]):
            return False
    return True


@inner
def _narrow(
    values: np.ndarray, bits: np.ndarray, low: np.floating, high: np.floating, zero: np.floating, out: np.ndarray
) -> bool:
    exact = True
    for i in range(values.size):
        inside = (values[i] >= low) & (values[i] <= high)
        number = values[i] if inside else zero  # casts of others are undefined
        out[i] = number
        exact &= inside & (zero + out[i] == number) & ((out[i] != 0) | (bits[i] == 0))
    return exact
