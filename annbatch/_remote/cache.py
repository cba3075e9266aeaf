"""Inner chunks of remote shards, cached on the local disk: shared by processes, bounded, and safe when they are killed.

Each file holds an extent: neighbouring chunks of one shard, at the same distances as in the shard, so that a chunk is
read from it as from the shard. A table before them has one slot per chunk: a mark and a CRC-32C of its bytes. The
bytes are written first and the slot afterwards, each by one call: if a process is killed while it writes a chunk, the
slot stays empty; if the machine crashes, the checksum does not match. Processes that write the same chunk write the
same bytes, as the shard's entity tag is part of the file name. So readers and writers need no lock; only eviction does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections import OrderedDict
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from .._runtime.fork import fork_safe_lock
from .._runtime.open_files import most_kept_open
from .._warn import warn
from .urls import refuse_urls

if TYPE_CHECKING:
    from .._format.shard_index import ShardIndex

EXTENT_BYTES = 8 << 20
"""About the bytes of an extent, which is evicted as a whole. One file per chunk of some 100 KB would be ten million
files per terabyte; one per shard of hundreds of MB would mostly keep chunks that nobody reads."""

_BLOCK = 4096
"""Bytes that file systems allocate at a time."""

_SAFELY = sum(getattr(os, flag, 0) for flag in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
"""Flags for opening: a link could lead to any file of the user's, and a pipe would block."""

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
        self._name = path.name
        self._verified = np.zeros(len(offset), dtype=np.uint64)
        self._changed = 0  # time of the change before which chunks were verified
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
        weakref.finalize(self, os.close, self.fd)
        _check_own(self.fd)
        with contextlib.suppress(OSError):
            os.utime(self.fd if os.utime in os.supports_fd else path)  # those opened longest ago are evicted first

    @property
    def is_gone(self) -> bool:
        """Whether the file was evicted, so that nobody would find what is written to it."""
        return os.fstat(self.fd).st_nlink == 0

    def find(self, chunks: np.ndarray) -> np.ndarray:
        """Return where chunks begin in the file; -1 for one that is missing or damaged.

        Parameters
        ----------
        chunks
            ``(n,)`` numbers of chunks within the shard.
        """
        slots = chunks - self._first
        raw = os.pread(self.fd, 8 * len(self._nbytes), 0)
        marks = np.zeros(len(self._nbytes), dtype="<u8")
        marks[: len(raw) // 8] = np.frombuffer(raw, dtype="<u8", count=len(raw) // 8)
        there = marks >= _MARK
        changed = os.fstat(self.fd).st_mtime_ns
        if changed != self._changed:  # written to, by whoever: also over what was verified before
            self._verified[:] = 0
            self._changed = changed
        for slot in np.unique(slots[there[slots] & (marks[slots] != self._verified[slots])]).tolist():
            data = os.pread(self.fd, int(self._nbytes[slot]), int(self._position[slot]))
            if self._mark(slot, data) == marks[slot]:
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
        os.pwrite(self.fd, self._mark(slot, data).to_bytes(8, "little"), 8 * slot)
        return written

    def _mark(self, slot: int, data: Any) -> int:
        """Return the mark of a chunk: without file and slot, all chunks that end with their CRC-32C had the same."""
        begun = google_crc32c.value(f"{self._name} {slot}".encode())
        return int(google_crc32c.extend(begun, data)) | _MARK


class ChunkCache:
    """A folder of extents. Thread-safe, and safe between processes.

    Parameters
    ----------
    folder
        Folder for the cache alone; created if needed.
    max_bytes
        Most bytes in the folder. Each writing process may exceed it by an eighth before it evicts.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        if max_bytes < 1:
            raise ValueError(f"`cache_size` must be positive, got {max_bytes}.")
        refuse_urls(folder, "cache_dir")
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._refused = False
        self._lock = fork_safe_lock()
        self._open: OrderedDict[tuple[str, str | None, int], Extent] = OrderedDict()
        self._written = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder, self._max_bytes)

    def extent(self, name: str, index: ShardIndex, chunk: int) -> Extent | None:
        """Return the extent that a chunk of a shard belongs to; None, with a warning, if the folder refuses it.

        Parameters
        ----------
        name
            URL of the shard.
        index
            Index of the shard.
        chunk
            Number of the chunk within the shard.
        """
        count = index.chunks_within(EXTENT_BYTES)
        first = chunk // count * count
        key = (name, index.tag, first)
        try:
            with self._lock:
                extent = self._open.get(key)
                if extent is None or extent.is_gone:
                    self._folder.mkdir(parents=True, exist_ok=True)
                    path = self._folder / (hashlib.sha256(repr(key).encode()).hexdigest()[:40] + _SUFFIX)
                    self._open[key] = extent = Extent(path, first, index, count)
                    if len(self._open) > most_kept_open():
                        self._open.popitem(last=False)
                self._open.move_to_end(key)
        except OSError as error:
            self._warn(error)
            return None
        return extent

    def find(self, extent: Extent, chunks: np.ndarray) -> np.ndarray:
        """Return where chunks begin in the file; -1 for one that is missing or damaged, or that cannot be read."""
        try:
            return extent.find(chunks)
        except OSError as error:
            self._warn(error)
            return np.full(len(chunks), -1, dtype=np.int64)

    def drop(self, extent: Extent, chunk: int) -> None:
        """Forget a chunk, if the disk lets it be forgotten."""
        with contextlib.suppress(OSError):
            extent.drop(chunk)

    def _warn(self, error: OSError) -> None:
        """Warn, once, that chunks are not cached."""
        refused, self._refused = self._refused, True
        if not refused:
            reason = error.strerror or str(error)
            warn(f"`cache_dir` {self._folder} is not used: {reason}.", RuntimeWarning)

    def put(self, extent: Extent, chunk: int, data: Any) -> None:
        """Keep a chunk, if the disk takes it."""
        try:
            written = extent.put(chunk, data)
        except OSError as error:
            self._warn(error)
            return
        with self._lock:
            self._written += (written // _BLOCK + 2) * _BLOCK  # the block of the table, and a partial one
            full = self._written > self._max_bytes // 8
            if full:
                self._written = 0
        if full:
            self.evict()

    def evict(self) -> None:
        """Delete the extents opened longest ago until a tenth of the space is free, unless another process does."""
        try:
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
        except OSError as error:
            self._warn(error)
            return
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._evict()
        except (ImportError, OSError):  # Windows has no such locks: two processes would only evict too much
            return
        finally:
            os.close(lock)

    def _evict(self) -> None:
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                stat = path.lstat()
                found.append((stat.st_mtime_ns, stat.st_blocks * 512, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found) if total > self._max_bytes else ():
            path.unlink(missing_ok=True)
            total -= size
            if total <= 0.9 * self._max_bytes:
                return


def _check_own(fd: int) -> None:
    """Raise ``OSError`` unless an open file is a regular one of this user's, under one name."""
    stat = os.fstat(fd)
    if not S_ISREG(stat.st_mode) or stat.st_nlink > 1:
        raise OSError("its files must be regular files, under one name each")
    if stat.st_uid != getattr(os, "geteuid", lambda: stat.st_uid)():
        raise OSError("its files belong to another user")
