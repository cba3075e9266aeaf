"""Counters of a loader, and the warning about read amplification."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from .._arrays.byte_count import take_count
from .._display import Section, Shown, Summary
from .._plot import bars
from .._runtime.fork import fork_safe_lock
from .._sizes import format_bytes
from .._warn import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.axes import Axes

    from .._arrays.array import Job
    from .._arrays.direct_io import DirectCounts
    from .._arrays.open import RowSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LoaderStats(Shown):
    """Counts since a loader was made; ``print`` shows them with rates.

    Attributes
    ----------
    rows, batches
        Rows and batches that the user got.
    bytes_read
        Bytes fetched from storage, annotations and row extents included; 0 for data in memory.
    wait_seconds
        Seconds that the user waited for windows.
    read_seconds
        Seconds that the reading threads worked, summed over threads.
    peak_buffer_bytes
        Largest memory of windows at one time, read-ahead and kept batches included, and of what was read for them
        around the page cache.
    requests, bytes_received
        Requests sent to object stores, retries included, and bytes received.
    seconds
        Seconds that iterations took up to their last batch, those that the user worked included.
    disk_requests, disk_bytes
        Requests to the disk around the page cache, and bytes that they read; see ``direct_io`` of the loader.
    disk_bytes_wanted
        Bytes that were needed of them: ``disk_bytes / disk_bytes_wanted`` is the read amplification.
    disk_in_flight
        Requests in flight, on average, while there were any.
    """

    rows: int
    batches: int
    bytes_read: int
    wait_seconds: float
    read_seconds: float
    peak_buffer_bytes: int
    requests: int
    bytes_received: int
    seconds: float = 0.0
    disk_requests: int = 0
    disk_bytes: int = 0
    disk_bytes_wanted: int = 0
    disk_in_flight: float = 0.0

    def facts(self) -> list[tuple[str, str]]:
        """Return the counts as text, by name."""
        seconds = max(self.seconds, 1e-9)
        facts = [
            ("rows", f"{self.rows:,} in {self.batches:,} batches, {self.rows / seconds:,.0f} per second"),
            ("time", f"{self.seconds:.1f} s, {self.wait_seconds / seconds:.0%} of it waiting for data"),
            ("read", f"{format_bytes(self.bytes_read)}, {format_bytes(self.bytes_read / seconds)} per second"),
            ("reading threads", f"{self.read_seconds:.1f} s of work"),
            ("windows", f"{format_bytes(self.peak_buffer_bytes)} of memory at most"),
        ]
        if self.disk_requests:
            amplification = self.disk_bytes / max(self.disk_bytes_wanted, 1)
            facts.append(
                (
                    "around the page cache",
                    f"{format_bytes(self.disk_bytes)}, {amplification:.2f} times what was needed, in "
                    f"{self.disk_requests:,} requests, {self.disk_in_flight:.0f} in flight",
                )
            )
        if self.requests:
            facts.append(("object stores", f"{self.requests:,} requests, {format_bytes(self.bytes_received)}"))
        return facts

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot where the time went: waiting for data, and all else, such as training.

        Draws on ``ax``, or on a new figure of matplotlib, and returns the axes.
        """
        seconds = {"waiting for data": self.wait_seconds, "all else": max(0.0, self.seconds - self.wait_seconds)}
        title = f"{self.rows:,} rows, {self.rows / max(self.seconds, 1e-9):,.0f} per second"
        return bars(ax, seconds, title=title, unit="seconds", form="{:.1f}")

    def __str__(self) -> str:
        return str(self._summary())

    def _summary(self) -> Summary:
        if not self.batches:
            return Summary("No batch was read yet", [])
        return Summary("Batches of a loader", [Section("So far", self.facts(), opened=True)])


class WorkLog:
    """Counts reads, waits and batches. Thread-safe."""

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._rows = 0
        self._batches = 0
        self._seconds = 0.0
        self._wait_seconds = 0.0
        self._bytes_read = 0
        self._read_seconds = 0.0

    def run(self, job: Job) -> None:
        """Run a job of a reading thread, and count its bytes and seconds."""
        begin = time.perf_counter()
        self._count(job(), time.perf_counter() - begin)

    def gather(self, gather: Callable[[], T]) -> T:
        """Gather annotations on a reading thread, and count the bytes and seconds that it takes."""
        begin = time.perf_counter()
        gathered = gather()
        self._count(0, time.perf_counter() - begin)
        return gathered

    def planned(self) -> None:
        """Count the bytes that the planning thread has read to locate rows."""
        self._count(0, 0.0)

    def _count(self, n_bytes: int, seconds: float) -> None:
        n_bytes += take_count()
        with self._lock:
            self._bytes_read += n_bytes
            self._read_seconds += seconds

    def waited(self, seconds: float) -> None:
        """Count time that the user waited."""
        with self._lock:
            self._wait_seconds += seconds

    def handed_over(self, n_rows: int, seconds: float) -> None:
        """Count a batch, and the time since the one before."""
        with self._lock:
            self._rows += n_rows
            self._seconds += seconds
            self._batches += 1

    def stats(self, *, peak_buffer_bytes: int, requests: int, bytes_received: int, direct: DirectCounts) -> LoaderStats:
        """Return the counts so far, with those that are kept elsewhere."""
        return LoaderStats(
            rows=self._rows,
            batches=self._batches,
            bytes_read=self._bytes_read,
            wait_seconds=self._wait_seconds,
            read_seconds=self._read_seconds,
            peak_buffer_bytes=peak_buffer_bytes,
            requests=requests,
            bytes_received=bytes_received,
            seconds=self._seconds,
            disk_requests=direct.requests,
            disk_bytes=direct.bytes_read,
            disk_bytes_wanted=direct.bytes_wanted,
            disk_in_flight=direct.in_flight,
        )


_AMPLIFICATION = 4.0
"""Bytes decoded per byte requested: below it, larger chunks of rows gain less than shuffling loses."""

_MIN_DECODED = 16 << 20
"""Bytes decoded so far, below which read amplification does not matter."""


def warn_of_read_amplification(sources: Iterable[RowSource]) -> bool:
    """Warn if far more bytes were decoded than requested so far; return whether that is so.

    Parameters
    ----------
    sources
        All matrices of a loader.
    """
    arrays = [array for source in sources for array in source.arrays]
    requested, decoded = sum(a.requested_bytes for a in arrays), sum(a.decoded_bytes for a in arrays)
    if decoded <= max(_MIN_DECODED, _AMPLIFICATION * requested):
        return False
    how = dict.fromkeys(array.describe() for array in arrays if array.decoded_bytes)
    warn(
        f"Reading decodes {decoded / max(requested, 1):.0f} times the values that batches hold: rows that are read "
        f"together lie apart, and share chunks with other rows ({', '.join(how)}). A larger `chunk_size` decodes less; "
        "`DatasetCollection(...).add_adatas(...)` makes a store from which single rows are read.",
    )
    return True
