"""The index of a shard: where each inner chunk lies in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorruptDataError

if TYPE_CHECKING:
    from .layout import ChunkLayout


ABSENT = -1
"""Offset of a chunk that was never written; it holds the fill value."""


_INDEX_ABSENT = np.iinfo(np.uint64).max  # what the shard index says of such a chunk (zarr v3, sharding codec 1.0)


def parse_index(raw: bytes, layout: ChunkLayout, size: int, where: object) -> tuple[np.ndarray, np.ndarray]:
    """Return offset and size of each chunk of a shard, as its index says.

    Parameters
    ----------
    raw
        The index: offset and size as pairs of little-endian uint64, then a CRC-32C of them.
    layout
        Of the array.
    size
        Bytes of the shard.
    where
        What errors call it.

    Raises
    ------
    CorruptDataError
        If the index contradicts its checksum, or points beyond the shard.
    """
    n_bytes = layout.index_bytes
    if size < n_bytes or len(raw) != n_bytes:
        raise CorruptDataError(f"{where} must hold an index of {n_bytes} bytes, got {size} in all: truncated?")
    if layout.index_checksum and crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise CorruptDataError(f"{where} has a chunk index that contradicts its checksum: damaged, truncated?")
    index = np.frombuffer(raw, dtype="<u8", count=2 * layout.per_file).reshape(-1, 2)
    written = index[:, 0] != _INDEX_ABSENT
    if (index[written].max(axis=1, initial=0) > size).any() or (index[written].sum(axis=1) > size).any():
        raise CorruptDataError(f"{where} has a chunk index that points beyond its {size} bytes: truncated?")
    offset = np.full(layout.per_file, ABSENT, dtype=np.int64)
    nbytes = np.zeros(layout.per_file, dtype=np.int64)
    offset[written], nbytes[written] = index[written, 0].astype(np.int64), index[written, 1].astype(np.int64)
    return offset, nbytes


def crc32c(data: bytes) -> int:
    from google_crc32c import value  # zarr itself depends on it

    return int(value(data))


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the chunks of one shard lie.

    Attributes
    ----------
    offset, nbytes
        ``(per_file,)`` int64; ``offset`` is ``ABSENT`` for a chunk that was never written.
    tag
        Entity tag of the shard that the index is of.
    """

    offset: np.ndarray
    nbytes: np.ndarray
    tag: str | None

    def chunks_within(self, nbytes: int) -> int:
        """Return how many chunks take about so many bytes; the same for all who read this index."""
        written = self.nbytes[self.offset >= 0]
        return max(1, nbytes * len(written) // max(1, int(written.sum()))) if len(written) else 1
