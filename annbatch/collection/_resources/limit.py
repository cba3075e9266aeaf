"""The memory limit of a conversion, and what is taken from it."""

from __future__ import annotations

from dataclasses import dataclass

# What Python holds once NumPy, SciPy, pandas, numba, zarr, h5py and anndata are loaded; measured: 230 to 250 MB.
_LIBRARIES = 256 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """How the memory limit is shared out.

    Attributes
    ----------
    held
        What rows may take between the passes; beyond it they go to disk.
    block
        What is read at a time, as stored: it is there narrowed too, and once more while it is sorted into buckets.
    bucket
        What is loaded at a time, at most: one is written while the next is loaded.
    """

    held: int
    block: int
    bucket: int

    @classmethod
    def within(cls, limit: int) -> Memory:
        """Share out a limit in bytes."""
        free = max(limit - _LIBRARIES, limit // 8)
        return cls(int(free * 0.7), max(1 << 16, min(64 << 20, free // 7)), max(1 << 16, free // 5))
