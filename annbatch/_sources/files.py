"""Open chunk files and what their indexes say, kept within a bound."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorruptDataError

if TYPE_CHECKING:
    from .layout import ChunkLayout

_MOST_OPEN = 256
"""Open files an array; processes may have 1,024 by default, and a loader reads at least two arrays."""

ABSENT = -1
"""Offset of a chunk that was never written; it holds the fill value."""

_INDEX_ABSENT = np.iinfo(np.uint64).max  # what the shard index says of such a chunk (zarr v3, sharding codec 1.0)


class ChunkFile:
    """An open file of chunks. Closed when nothing refers to it.

    Attributes
    ----------
    fd
        File descriptor; -1 where there is no such file, which means that all its chunks hold the fill value.
    offset, nbytes
        ``(per_file,)`` int64 place and size of each chunk in the file; ``offset`` is ``ABSENT`` for one never written.
    """

    def __init__(self, layout: ChunkLayout, number: int) -> None:
        self.path = Path(layout.file(number))
        self.fd = -1
        self.offset = np.full(layout.per_file, ABSENT, dtype=np.int64)
        self.nbytes = np.zeros(layout.per_file, dtype=np.int64)
        try:
            self.fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            first = number * layout.per_file
            chunks = f"chunks {first}..{first + layout.per_file - 1} of array {layout.folder}"
            if layout.complete:
                raise CorruptDataError(f"{self.path} is missing, with {chunks}.") from None
            return
        weakref.finalize(self, os.close, self.fd)
        self._found = _identity(os.fstat(self.fd))
        if layout.sharded:
            self._read_index(layout)
        else:
            self.offset[0], self.nbytes[0] = 0, self._found.size

    def check_unchanged(self) -> None:
        """Raise ``CorruptDataError`` if the file is no longer the one that was opened."""
        if self.fd < 0:
            return
        try:
            now = _identity(self.path.stat())
        except FileNotFoundError:
            raise CorruptDataError(f"{self.path} was removed while it was being read.") from None
        if now != self._found:
            raise CorruptDataError(f"{self.path} was replaced or changed while it was open: open the store again.")

    def _read_index(self, layout: ChunkLayout) -> None:
        n_bytes, size = layout.index_bytes, self._found.size
        raw = os.pread(self.fd, n_bytes, 0 if layout.index_first else max(0, size - n_bytes))
        self.offset, self.nbytes = parse_index(raw, layout, size, self.path)


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
    if layout.index_checksum and _crc32c(raw[:-4]) != int.from_bytes(raw[-4:], "little"):
        raise CorruptDataError(f"{where} has a chunk index that contradicts its checksum: damaged, truncated?")
    index = np.frombuffer(raw, dtype="<u8", count=2 * layout.per_file).reshape(-1, 2)
    written = index[:, 0] != _INDEX_ABSENT
    if (index[written].max(axis=1, initial=0) > size).any() or (index[written].sum(axis=1) > size).any():
        raise CorruptDataError(f"{where} has a chunk index that points beyond its {size} bytes: truncated?")
    offset = np.full(layout.per_file, ABSENT, dtype=np.int64)
    nbytes = np.zeros(layout.per_file, dtype=np.int64)
    offset[written], nbytes[written] = index[written, 0].astype(np.int64), index[written, 1].astype(np.int64)
    return offset, nbytes


class ChunkFiles:
    """An array's chunk files, opened when they are needed. Thread-safe.

    The files used last stay open. One that is dropped is closed when the last reading that uses it has ended.
    """

    def __init__(self, layout: ChunkLayout) -> None:
        self._layout = layout
        self._open: OrderedDict[int, ChunkFile] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> ChunkFile:
        """Return a chunk file.

        Raises
        ------
        CorruptDataError
            If its index contradicts its checksum or its length, or it changed since it was opened.
        """
        with self._lock:
            file = self._open.get(number)
            if file is None:
                file = ChunkFile(self._layout, number)
                self._open[number] = file
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
                return file
            self._open.move_to_end(number)
        file.check_unchanged()
        return file


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int
    size: int
    modified: int


def _identity(stat: os.stat_result) -> _Identity:
    return _Identity(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _crc32c(data: bytes) -> int:
    from google_crc32c import value  # zarr itself depends on it

    return int(value(data))
