"""The memory limit of a conversion, and how it is shared out."""

from __future__ import annotations

from dataclasses import dataclass

# Memory of Python once NumPy, SciPy, pandas, numba, zarr, h5py and anndata are loaded; measured: 230 to 250 MB.
_LIBRARIES = 256 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """Shares of the memory limit.

    Attributes
    ----------
    held
        Bytes of rows kept in memory between the passes; more go to disk.
    block
        Bytes per read, as stored; a narrowed copy, and another during sorting into buckets, come on top.
    bucket
        Maximum bytes that are loaded at a time: one is written while the next is loaded.
    """

    held: int
    block: int
    bucket: int

    @classmethod
    def within(cls, limit: int) -> Memory:
        """Share out a limit in bytes."""
        free = max(limit - _LIBRARIES, limit // 8)
        return cls(int(free * 0.7), max(1 << 16, min(64 << 20, free // 7)), max(1 << 16, free // 5))
