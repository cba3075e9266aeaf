"""Limit the memory that a process takes from now on, for pages of files and all else, by a control group of Linux."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

ROOTS = {"memory.limit_in_bytes": Path("/sys/fs/cgroup/memory"), "memory.max": Path("/sys/fs/cgroup")}
"""Where groups are made, by the name of the file that limits one: version 1, and version 2."""


class MemoryGroup:
    """A control group with one limit.

    Parameters
    ----------
    n_bytes
        Memory for what its processes allocate, and for the pages of files that they read, after they join it.

    Raises
    ------
    OSError
        If this user may not make one.
    """

    def __init__(self, n_bytes: int) -> None:
        for name, root in ROOTS.items():
            with suppress(OSError):
                self._folder = Path(tempfile.mkdtemp(prefix="annbatch-", dir=root))
                if (self._folder / name).exists():
                    (self._folder / name).write_text(str(n_bytes))
                    return
                self._folder.rmdir()
        raise OSError("No control group can be made that limits memory: that needs Linux, and root.")

    def add(self, process: int) -> None:
        """Add a process."""
        (self._folder / "cgroup.procs").write_text(str(process))

    def remove(self) -> None:
        """Remove the group; its processes must have ended."""
        with suppress(OSError):
            self._folder.rmdir()


def can_limit() -> bool:
    """Return whether memory can be limited here."""
    try:
        MemoryGroup(1 << 30).remove()
    except OSError:
        return False
    return True
