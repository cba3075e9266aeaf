"""The index of a shard: where each inner chunk lies in it.

zarr's "sharding_indexed" codec (version 1.0) stores offset and size of each chunk as little-endian uint64, both
2^64 - 1 for a chunk that was never written, then a CRC-32C of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import google_crc32c
import numpy as np

from ..errors import CorruptDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layout import ChunkLayout

ABSENT = -1
"""Offset of a chunk that was never written; it holds the fill value."""

_STORED_ABSENT = np.iinfo(np.uint64).max


def format_index(chunks: Sequence[tuple[int, int]], per_file: int) -> bytes:
    """Return the index of a shard with room for ``per_file`` chunks, given offset and size of its first ones."""
    index = np.full((per_file, 2), _STORED_ABSENT, dtype="<u8")
    index[: len(chunks)] = chunks
    raw = index.tobytes()
    return raw + int(google_crc32c.value(raw)).to_bytes(4, "little")


def parse_index(
    raw: bytes, layout: ChunkLayout, number: int, size: int, where: object
) -> tuple[np.ndarray, np.ndarray]:
    """Return offset and size of each chunk of a shard.

    Parameters
    ----------
    raw
        The index.
    layout
        Layout of the array.
    number, size
        Number of the shard, and its size in bytes.
    where
        Name of the shard in errors.

    Returns
    -------
    tuple of numpy.ndarray
        ``(per_file,)`` int64 offset and size in bytes; the offset is ``ABSENT`` for a chunk that was never written.

    Raises
    ------
    CorruptDataError
        If the index does not match its checksum, points beyond the shard, or lacks a chunk of a complete array.
    """
    n_bytes = layout.index_bytes
    if size < n_bytes or len(raw) != n_bytes:
        raise CorruptDataError(f"{where} must hold a chunk index of {n_bytes} bytes, got {len(raw)} (truncated?).")
    if layout.index_checksum and google_crc32c.value(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise CorruptDataError(f"{where} has a chunk index that does not match its checksum (damaged or truncated).")
    index = np.frombuffer(raw, dtype="<u8", count=2 * layout.per_file).reshape(-1, 2)
    written = (index != _STORED_ABSENT).any(axis=1)
    if (index[written].max(axis=1, initial=0) > size).any() or (index[written].sum(axis=1) > size).any():
        raise CorruptDataError(f"{where} has a chunk index that points beyond its {size} bytes (truncated?).")
    if (index[written, 1] > layout.most_encoded).any():
        raise CorruptDataError(
            f"{where} must hold chunks of at most {layout.most_encoded:,} bytes, as encoded, got an index with one of "
            f"{index[written, 1].max():,}: damaged."
        )
    first, n_chunks = number * layout.per_file, -(-layout.size // layout.chunk)
    if layout.complete and not written[: n_chunks - first].all():
        lacking = first + int(np.argmin(written))
        raise CorruptDataError(f"{where} lacks chunk {lacking} of array {layout.folder}: damaged.")
    offset = np.full(layout.per_file, ABSENT, dtype=np.int64)
    nbytes = np.zeros(layout.per_file, dtype=np.int64)
    offset[written], nbytes[written] = index[written, 0].astype(np.int64), index[written, 1].astype(np.int64)
    return offset, nbytes


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """Where the chunks of one shard lie.

    Attributes
    ----------
    offset, nbytes
        ``(per_file,)`` int64; ``offset`` is ``ABSENT`` for a chunk that was never written.
    tag
        Entity tag of the shard, None if the store gives none.
    """

    offset: np.ndarray
    nbytes: np.ndarray
    tag: str | None

    def chunks_within(self, nbytes: int) -> int:
        """Return how many chunks take about ``nbytes`` in total; every reader of this index gets the same number."""
        written = self.nbytes[self.offset >= 0]
        return max(1, nbytes * len(written) // max(1, int(written.sum()))) if len(written) else 1
