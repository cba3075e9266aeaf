"""Narrow floats that hold integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .jit import kernel

if TYPE_CHECKING:
    import numpy as np


@kernel
def narrow_floats(
    values: np.ndarray, bits: np.ndarray, low: np.floating, high: np.floating, zero: np.floating, out: np.ndarray
) -> bool:
    """Cast ``values`` to integers; return whether all casts are exact. Negative zero, known by ``bits``, is not."""
    exact = True
    for i in range(values.size):
        inside = (values[i] >= low) & (values[i] <= high)
        number = values[i] if inside else zero  # casts of others are undefined
        out[i] = number
        exact &= inside & (zero + out[i] == number) & ((out[i] != 0) | (bits[i] == 0))
    return exact
