"""Gather rows from anywhere in memory, without the GIL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .clib import memcpy
from .jit import kernel

if TYPE_CHECKING:
    import numpy as np


@kernel
def gather_bytes(address: np.ndarray, length: np.ndarray, out: np.ndarray) -> None:
    """Copy ``length`` bytes from each address, one piece behind the other.

    Parameters
    ----------
    address, length
        ``(n,)`` int64. The caller keeps the memory alive.
    out
        uint8, at least as long as all pieces.
    """
    to: Any = out.ctypes.data
    for i in range(address.size):
        memcpy(to, address[i], length[i])
        to += length[i]
