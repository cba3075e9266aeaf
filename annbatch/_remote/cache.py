"""Inner chunks of remote shards, kept on the local disk: shared by processes, bounded, right whatever is killed.

A file holds an extent: neighbouring chunks of one shard, at the distances that they have there, so that a chunk is
read from it as it would be from the shard. Before them stands a table of a slot a chunk: a mark and the CRC-32C of its
bytes. Bytes are written first, the slot afterwards, each by one call: a chunk that a process was killed in the middle
of has no slot, and one that a machine lost contradicts its checksum. Two processes that write the same chunk write the
same bytes, for the shard's entity tag is part of the name. So readers and writers need no lock; only who evicts takes
one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

if TYPE_CHECKING:
    from .._format.shard_index import ShardIndex

EXTENT_BYTES = 8 << 20
"""About the bytes of an extent, which is evicted whole. Chunks are some 100 KB: files of their own would be ten million
for a terabyte, and whole shards, of hundreds of MB, would mostly hold what is not wanted."""

_MOST_OPEN = 256
"""Open extents; processes may have 1,024 open files by default."""

_BLOCK = 4096
"""Bytes that file systems hand out at a time."""

_MARK = 1 << 32
_SUFFIX = ".chunks"


class Extent:
    """An open extent file.

    Attributes
    ----------
    fd
        File descriptor; closed when nothing refers to this object.
    """

    def __init__(self, path: Path, first: int, index: ShardIndex, count: int) -> None:
        stop = min(first + count, len(index.offset))
        self._nbytes = index.nbytes[first:stop]
        offset = index.offset[first:stop]
        self._table_bytes = -(-8 * len(offset) // _BLOCK) * _BLOCK
        self._position = offset - offset[offset >= 0].min(initial=np.iinfo(np.int64).max) + self._table_bytes
        self._first = first
        self._verified = np.zeros(len(offset), dtype=np.uint64)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        weakref.finalize(self, os.close, self.fd)
        with contextlib.suppress(OSError):
            os.utime(path)  # of least use is what was opened longest ago

    @property
    def is_gone(self) -> bool:
        """Whether the file was evicted, so that nobody will find what is written to it."""
        return os.fstat(self.fd).st_nlink == 0

    def find(self, chunks: np.ndarray) -> np.ndarray:
        """Return where in the file chunks begin; -1 for one that is not there, or not as it was written.

        Parameters
        ----------
        chunks
            ``(n,)`` numbers in the shard.
        """
        slots = chunks - self._first
        raw = os.pread(self.fd, 8 * len(self._nbytes), 0)
        marks = np.zeros(len(self._nbytes), dtype="<u8")
        marks[: len(raw) // 8] = np.frombuffer(raw, dtype="<u8", count=len(raw) // 8)
        there = marks >= _MARK
        for slot in np.unique(slots[there[slots] & (marks[slots] != self._verified[slots])]).tolist():
            data = os.pread(self.fd, int(self._nbytes[slot]), int(self._position[slot]))
            if _crc32c(data) | _MARK == marks[slot]:
                self._verified[slot] = marks[slot]
            else:
                self.drop(slot + self._first)
                there[slot] = False
        return np.where(there[slots], self._position[slots], -1)

    def drop(self, chunk: int) -> None:
        """Forget a chunk."""
        os.pwrite(self.fd, bytes(8), 8 * (chunk - self._first))

    def put(self, chunk: int, data: Any) -> int:
        """Write a chunk; return the bytes that the file grew by."""
        slot = chunk - self._first
        written = os.pwrite(self.fd, data, int(self._position[slot]))
        if written != len(data):
            return written
        os.pwrite(self.fd, (_crc32c(data) | _MARK).to_bytes(8, "little"), 8 * slot)
        return written


class ChunkCache:
    """A folder of extents. Thread-safe, and safe between processes.

    Parameters
    ----------
    folder
        Made if it is not there. Nothing else may be in it.
    most_bytes
        Of all that is in it. It is exceeded by an eighth for each process that writes, until one evicts.
    """

    def __init__(self, folder: str | os.PathLike[str], most_bytes: int) -> None:
        if most_bytes < 1:
            raise ValueError(f"`cache_size` must be positive, got {most_bytes}.")
        self._folder = Path(folder)
        self._most_bytes = most_bytes
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, str | None, int], Extent] = OrderedDict()
        self._written = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder, self._most_bytes)

    def extent(self, name: str, index: ShardIndex, chunk: int) -> Extent:
        """Return the extent that a chunk of a shard belongs to.

        Parameters
        ----------
        name
            Of the shard: its URL.
        index
            Of the shard.
        chunk
            Number in the shard.
        """
        count = index.chunks_within(EXTENT_BYTES)
        first = chunk // count * count
        key = (name, index.tag, first)
        with self._lock:
            extent = self._open.get(key)
            if extent is None or extent.is_gone:
                path = self._folder / (hashlib.sha256(repr(key).encode()).hexdigest()[:40] + _SUFFIX)
                self._open[key] = extent = Extent(path, first, index, count)
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(key)
        return extent

    def put(self, extent: Extent, chunk: int, data: Any) -> None:
        """Keep a chunk; where the disk does not take it, go without."""
        try:
            written = extent.put(chunk, data)
        except OSError:
            return
        with self._lock:
            self._written += (written // _BLOCK + 2) * _BLOCK  # a table's block and one begun
            full = self._written > self._most_bytes // 8
            if full:
                self._written = 0
        if full:
            self.evict()

    def evict(self) -> None:
        """Remove extents, those of least use first, until a tenth of the space is free; unless another process does."""
        with self._folder.joinpath("lock").open("a") as lock:
            try:
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (ImportError, OSError):  # Windows has no such locks: two that evict only evict too much
                return
            found = []
            for path in self._folder.glob(f"*{_SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    found.append((stat.st_mtime_ns, stat.st_blocks * 512, path))
            total = sum(size for _, size, _ in found)
            if total <= self._most_bytes:
                return
            for _, size, path in sorted(found):
                path.unlink(missing_ok=True)
                total -= size
                if total <= 0.9 * self._most_bytes:
                    return


def _crc32c(data: Any) -> int:
    return int(google_crc32c.value(data))
