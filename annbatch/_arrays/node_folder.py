"""The folder of a zarr array or group on the local disk: it must stay the one that was opened."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import CorruptDataError


def identity_of(stat: os.stat_result) -> int:
    """Return a number that identifies this file with this content: 8 bytes, as there may be a million files."""
    return hash((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))


class NodeFolder:
    """The folder of an array or group, recognized by its file of metadata. Unpickling it checks it.

    Parameters
    ----------
    path
        Absolute path.
    opened
        Size in bytes and time of modification in ns of the metadata where they were opened in another process; None if
        there were none, or this is the first process.

    Raises
    ------
    CorruptDataError
        If the metadata are others by now.
    """

    def __init__(self, path: Path, opened: tuple[int, int] | None = None) -> None:
        self.path = path
        stat = self._stat()
        self._identity = stat and identity_of(stat)
        self._opened = stat and (stat.st_size, stat.st_mtime_ns)
        if opened not in (None, self._opened):
            raise CorruptDataError(
                f"{path} was replaced, changed or removed since the loader was pickled: open it again."
            )

    @classmethod
    def of(cls, node: Any) -> NodeFolder | None:
        """Return the folder of a zarr array or group; None of one that has none, as in an object store or in HDF5."""
        from zarr.storage import LocalStore

        path: Any = getattr(node, "store_path", None)
        is_local = isinstance(getattr(path, "store", None), LocalStore)
        return cls(Path(path.store.root).absolute() / path.path) if is_local else None

    def __reduce__(self) -> tuple[Any, ...]:
        return NodeFolder, (self.path, self._opened)

    def check(self) -> None:
        """Raise :class:`CorruptDataError` if the metadata changed since they were first seen in this process."""
        stat = self._stat()
        if (stat and identity_of(stat)) != self._identity:
            raise CorruptDataError(
                f"{self.path} was replaced, changed or removed since it was opened, as when a collection is shuffled "
                "again: open it again."
            )

    def _stat(self) -> os.stat_result | None:
        for name in ("zarr.json", ".zarray", ".zgroup"):
            with suppress(OSError):
                return Path(self.path, name).stat()
        return None
