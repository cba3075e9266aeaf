"""Chunk files, open with their indexes: a bounded number per process."""

from __future__ import annotations

import errno
import itertools
import os
import weakref
from collections import OrderedDict
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

import numpy as np

from .._format.metadata_files import check_file
from .._format.shard_index import ABSENT, parse_index
from .._runtime.fork import fork_safe_lock
from .._runtime.open_files import most_kept_open
from ..errors import CorruptDataError
from .node_folder import NodeFolder, identity_of

if TYPE_CHECKING:
    from .._format.layout import ChunkLayout

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)  # opening a pipe would block


class ChunkFile:
    """An open file of chunks, closed when nothing refers to it.

    Attributes
    ----------
    fd
        File descriptor; -1 if the file does not exist, so that all its chunks hold the fill value.
    identity
        Number that changes with the file; 0 if it does not exist.
    offset, nbytes
        ``(per_file,)`` int64 position and size of each chunk in bytes; ``offset`` is ``ABSENT`` for a chunk that was
        never written.
    """

    def __init__(self, layout: ChunkLayout, number: int) -> None:
        self.path = Path(layout.file(number))
        self.fd = -1
        self.identity = 0
        try:
            self.fd = os.open(self.path, _FLAGS)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                raise
            if layout.complete:
                first = number * layout.per_file
                raise CorruptDataError(
                    f"{self.path} is missing, with chunks {first}..{first + layout.per_file - 1} of array "
                    f"{layout.folder}."
                ) from None
            # A value each, repeated: any number of chunks takes no memory.
            self.offset = np.broadcast_to(np.int64(ABSENT), layout.per_file)
            self.nbytes = np.broadcast_to(np.int64(0), layout.per_file)
            return
        weakref.finalize(self, os.close, self.fd)
        stat = os.fstat(self.fd)
        if not S_ISREG(stat.st_mode):
            raise CorruptDataError(f"{self.path} is not a regular file.")
        if hasattr(os, "posix_fadvise"):  # what is needed is known, and announced: nothing else is to be read ahead
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.identity = identity_of(stat)
        if layout.sharded:
            self._read_index(layout, number, stat.st_size)
        else:
            self.offset, self.nbytes = np.zeros(1, dtype=np.int64), np.array([stat.st_size], dtype=np.int64)
        self.nbytes -= layout.trailer

    def check_unchanged(self) -> None:
        """Raise ``CorruptDataError`` if the file was replaced, changed or removed since it was opened."""
        if self.fd < 0:
            return
        try:
            now = identity_of(self.path.stat())
        except FileNotFoundError:
            raise CorruptDataError(
                f"{self.path} was removed while it was being read, as when a collection is shuffled again: "
                "open it again."
            ) from None
        if now != self.identity:
            raise _replaced(self.path)

    def _read_index(self, layout: ChunkLayout, number: int, size: int) -> None:
        n_bytes = layout.index_bytes
        check_file(self.path, n_bytes)
        # No more bytes than the file has: a damaged layout may ask for any number.
        raw = os.pread(self.fd, min(n_bytes, size), 0 if layout.index_first else max(0, size - n_bytes))
        self.offset, self.nbytes = parse_index(raw, layout, number, size, self.path)


# Reentrant: an array may be collected, and drop its files, on the thread that holds it.
_lock = fork_safe_lock(reentrant=True)
_open: OrderedDict[tuple[int, int], ChunkFile] = OrderedDict()  # of all arrays, least recently used first
_numbers = itertools.count()


class ChunkFiles:
    """An array's chunk files, opened when they are needed. Thread-safe.

    The most recently used files of all arrays stay open. A file that is dropped is closed when the last read that uses
    it ends.

    Attributes
    ----------
    folder
        The array's folder, which may have been opened in another process.
    """

    def __init__(self, layout: ChunkLayout, folder: NodeFolder | None = None) -> None:
        self._layout = layout
        self._known: dict[int, int] = {}  # identity of each file, also after it was closed
        self.folder = folder or NodeFolder(Path(layout.folder))
        self._number = next(_numbers)
        weakref.finalize(self, _drop, self._number).atexit = False

    def get(self, number: int) -> ChunkFile:
        """Return a chunk file.

        Raises
        ------
        CorruptDataError
            If its index contradicts its checksum or its length, or file or array changed since they were first opened.
        """
        key = self._number, number
        with _lock:
            file = _open.get(key)
            if file is not None:
                _open.move_to_end(key)
        if file is not None:
            file.check_unchanged()
            return file
        try:
            file = ChunkFile(self._layout, number)
        finally:  # a missing file means another thing where the array is gone
            self.folder.check()
        with _lock:
            if self._known.setdefault(number, file.identity) != file.identity:
                raise _replaced(file.path)
            _open[key] = file
            while len(_open) > most_kept_open():
                _open.popitem(last=False)
        return file


def _drop(array: int) -> None:
    with _lock:
        for key in list(_open):
            if key[0] == array:
                _open.pop(key, None)


def _replaced(path: Path) -> CorruptDataError:
    return CorruptDataError(f"{path} was replaced or changed while it was open: open the store again.")
