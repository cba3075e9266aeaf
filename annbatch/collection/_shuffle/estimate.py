"""Estimate of a conversion's time and space: shown, and compared with the free disk, before it begins."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..._runtime.threads import usable_cores
from ..._sizes import format_bytes
from ...errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from .job import ShuffleJob

# Core-seconds per byte of rows as held, measured on an AMD EPYC: 200,000 cells with 1,603 non-zeros each take 6 s
# within 4 GB and 9 s within 500 MB.
_IN_MEMORY, _THROUGH_DISK = 3e-9, 5e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a conversion will take.

    Attributes
    ----------
    n_obs
        Number of rows.
    read
        Bytes to read, decompressed.
    held
        Maximum bytes of the rows between the passes, in memory or on disk.
    written
        Maximum bytes of the new datasets.
    spills
        Whether rows go through the disk.
    """

    n_obs: int
    read: float
    held: float
    written: float
    spills: bool

    @classmethod
    def of(cls, job: ShuffleJob, memory_bytes: float) -> Estimate:
        """Estimate a job that may hold ``memory_bytes`` of rows in memory."""
        n_obs = job.survey.n_obs
        held = n_obs * job.stored_bytes_per_row
        # Blosc at least halves counts and column numbers; what it does not shrink is narrowed already.
        written = held if job.form.layout == "random_access" else held / 2
        return cls(n_obs, n_obs * job.survey.bytes_per_row, held, written, held > memory_bytes)

    @property
    def seconds(self) -> float:
        """Estimated time on this machine's cores, if disks keep up."""
        return self.held * (_THROUGH_DISK if self.spills else _IN_MEMORY) / usable_cores()

    def describe(self, spill: Path) -> str:
        """Return the estimate as one line; ``spill`` is the folder that rows may go through."""
        through = f", {format_bytes(self.held)} at most to shuffle through {spill}" if self.spills else ""
        return (
            f"{self.n_obs:,} rows: {format_bytes(self.read)} to read{through}, {format_bytes(self.written)} at most to "
            f"write; about {_format_seconds(self.seconds)}."
        )

    def require_space(self, collection: Path | None, spill: Path) -> None:
        """Raise :class:`StoreError` if a disk has too little free space.

        Parameters
        ----------
        collection
            Folder of the collection; None if it is in no local folder.
        spill
            Folder that rows may go through.
        """
        needs: dict[int, tuple[Path, float]] = {}
        for folder, n_bytes in ((collection, self.written), (spill, self.held if self.spills else 0.0)):
            if folder is not None:
                device = folder.stat().st_dev
                first, before = needs.get(device, (folder, 0.0))
                needs[device] = first, before + n_bytes
        for folder, n_bytes in needs.values():
            free = shutil.disk_usage(folder).free
            if n_bytes > free:
                raise StoreError(
                    errno.ENOSPC,
                    f"{folder} needs about {format_bytes(n_bytes)} of free disk space, got {format_bytes(free)}.",
                )


def _format_seconds(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
