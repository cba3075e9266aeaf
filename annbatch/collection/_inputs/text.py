"""Strings of inputs, which may be of any length: their sizes in memory, and how many are read at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._blocks import string_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], np.ndarray]

SHORT = 72.0
"""Bytes of a short string in memory, with its pointer."""

_RUNS, _RUN = 4, 16  # runs of strings that are looked at before any work, and strings per run
_STEP = 512  # strings per read


def mean_bytes(read: Read, n_rows: int) -> float:
    """Return about how many bytes a string takes in memory, from a few of them; at least those of a short one."""
    starts = {max(0, n_rows - _RUN) * i // (_RUNS - 1) for i in range(_RUNS if n_rows else 0)}
    runs = [read(start, min(start + _RUN, n_rows)) for start in sorted(starts)]
    return max(SHORT, sum(map(string_bytes, runs)) / max(1, sum(map(len, runs))))


def read_within(read: Read, start: int, stop: int, n_bytes: float) -> tuple[np.ndarray, int]:
    """Return strings ``start:stop``, or the first of them that take ``n_bytes``, at least one; and their bytes."""
    parts: list[np.ndarray] = []
    used = 0
    while start < stop and (used < n_bytes or not parts):
        part = read(start, min(start + _STEP, stop))
        start += len(part)
        size = string_bytes(part)
        while used + size > n_bytes and len(part) > (not parts):
            part = part[: len(part) // 2]
            start, size = stop, string_bytes(part)
        parts.append(part)
        used += size
    return np.concatenate(parts) if parts else read(start, stop), used
