"""What a conversion will take: said, and asked of the disk, before it begins."""

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

# Seconds of one core for a byte of rows as they are held, measured on an AMD EPYC: 200,000 cells with 1,603 non-zeros
# each take 6 s within 4 GB and 9 s within 500 MB.
_IN_MEMORY, _THROUGH_DISK = 3e-9, 5e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a conversion will take.

    Attributes
    ----------
    n_obs
        Rows.
    read
        Bytes to read, as they are stored in the inputs and decompressed.
    held
        Bytes that the rows take between the passes, at most: in memory, or on disk.
    written
        Bytes of the new datasets, at most.
    spills
        Whether rows go through the disk.
    """

    n_obs: int
    read: float
    held: float
    written: float
    spills: bool

    @classmethod
    def of(cls, job: ShuffleJob, most_held: float) -> Estimate:
        """Return what a job will take that may hold so many bytes in memory."""
        n_obs = job.survey.n_obs
        held = n_obs * job.stored_bytes_per_row
        # Blosc makes less than half of counts and column numbers; what it does not shrink is narrowed already.
        written = held if job.form.layout == "random_access" else held / 2
        return cls(n_obs, n_obs * job.survey.bytes_per_row, held, written, held > most_held)

    @property
    def seconds(self) -> float:
        """About how long it takes on this machine's cores, where disks keep up."""
        return self.held * (_THROUGH_DISK if self.spills else _IN_MEMORY) / usable_cores()

    def spell(self, spill: Path) -> str:
        """Say it in one line."""
        through = f", {format_bytes(self.held)} at most to shuffle through {spill}" if self.spills else ""
        return (
            f"{self.n_obs:,} rows: {format_bytes(self.read)} to read{through}, {format_bytes(self.written)} at most to "
            f"write; about {_format_seconds(self.seconds)}."
        )

    def require_space(self, home: Path | None, spill: Path) -> None:
        """Raise :class:`StoreError` if a disk has less room than needed.

        Parameters
        ----------
        home
            Folder of the collection; None if that is no folder.
        spill
            Folder that rows are shuffled through.
        """
        needs: dict[int, tuple[Path, float]] = {}
        for folder, n_bytes in ((home, self.written), (spill, self.held if self.spills else 0.0)):
            if folder is not None:
                device = folder.stat().st_dev
                first, before = needs.get(device, (folder, 0.0))
                needs[device] = first, before + n_bytes
        for folder, n_bytes in needs.values():
            free = shutil.disk_usage(folder).free
            if n_bytes > free:
                raise StoreError(
                    errno.ENOSPC,
                    f"{folder} needs about {format_bytes(n_bytes)} of free disk, got {format_bytes(free)}.",
                )


def _format_seconds(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"
