"""The passes of a conversion, one after the other; every finished piece is kept, so that a killed run resumes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..._progress import progress_bar, tell
from .._resources.pages import RowMemory
from .._shuffle.estimate import Estimate
from .._shuffle.first_pass import WINDOW_BLOCKS
from .._shuffle.in_memory import InMemory, TooLargeError
from .._shuffle.job import Statistics
from .._shuffle.on_disk import Buckets, OnDisk, spill, spilled
from .._state.work import Work
from .._writing.dataset import Target, write_dataset

if TYPE_CHECKING:
    from tqdm import tqdm

    from .._resources.limit import Memory
    from .._shuffle.in_memory import ShuffledRows
    from .._shuffle.job import ShuffleJob


def shuffle_rows(
    job: ShuffleJob, memory: Memory, collection: Path | None, spill_to: Path, client: Any | None, progress: bool
) -> ShuffledRows:
    """Read all rows, and hold them in memory or on disk.

    Parameters
    ----------
    job
        The conversion.
    memory
        Memory limit.
    collection
        Folder of the collection; None if it is in no local folder.
    spill_to
        Folder for rows on disk; spill files of an earlier run of the same job are used.
    client
        Dask client whose workers do the work, if any.
    progress
        Whether to show progress.

    Raises
    ------
    StoreError
        If a disk has too little free space; nothing was read.
    """
    estimate = Estimate.of(job, memory.held if client is None else 0)
    estimate.require_space(collection, spill_to)
    with _bar("Reading", job, progress) as bar:
        tell(estimate.describe(spill_to), progress=progress)
        if not estimate.spills:
            try:
                # A little more than the estimate of the rows that just fit, before reading begins again.
                return InMemory(job, memory.block, memory.held * 5 / 4, lambda n: _advance(bar, n))
            except TooLargeError as error:
                estimate = replace(estimate, held=error.bytes_per_row * job.survey.n_obs, spills=True)
                estimate.require_space(collection, spill_to)
                bar.reset()
        loaded = estimate.held + job.text_bytes  # of strings, both the bytes and the objects
        buckets = Buckets.cut(job.order.span, max(2, int(-(-loaded // memory.bucket))))
        ranges = part_ranges(job, memory)
        parts, row_memory = [], RowMemory(WINDOW_BLOCKS * memory.block)
        if client is not None:
            from .cluster import spill_parts

            spill_to = spill_to.absolute()
            parts = spill_parts(client, job, buckets, spill_to, ranges, memory.block, lambda n: _advance(bar, n))
        else:
            for number, rows in enumerate(ranges):
                parts.append(
                    spilled(spill_to, number, row_memory)
                    or spill(job, buckets, spill_to, number, rows, memory.block, row_memory)
                )
                bar.update(rows[1] - rows[0])
        statistics = Statistics.start(job)
        for part in parts:
            statistics.merge(part.counted)
        # Buckets of random rows differ by a few percent.
        return OnDisk(job.order, spill_to, parts, statistics, memory.bucket * 5 // 4)


def _bar(doing: str, job: ShuffleJob, progress: bool) -> tqdm[Any]:
    return progress_bar(total=job.survey.n_obs, desc=doing, unit=" rows", unit_scale=True, progress=progress)


def _advance(bar: tqdm[Any], n_rows: int) -> None:
    bar.update(n_rows)


def part_ranges(job: ShuffleJob, memory: Memory) -> list[tuple[int, int]]:
    """Return the ranges of rows that are read as one piece of work: what a killed run may lose."""
    n_obs = job.survey.n_obs
    total = n_obs * job.survey.bytes_per_row
    step = max(1, int(n_obs * max(8 * memory.block, total / 256) / max(1.0, total)))
    return [(start, min(start + step, n_obs)) for start in range(0, n_obs, step)]


def write_each(
    job: ShuffleJob,
    shuffled: ShuffledRows,
    target: Callable[[int], Target],
    finish: Callable[[int, Target], None],
    skip: Callable[[int], bool],
    progress: bool,
) -> None:
    """Write the datasets of a job, one after the other, but for those to skip."""
    with _bar("Writing", job, progress) as bar:
        for number in range(job.n_datasets):
            if skip(number):
                start, stop = job.rows_of(number)
                bar.update(stop - start)
                continue
            to = target(number)
            write_dataset(job, shuffled, number, to, lambda n: _advance(bar, n))
            finish(number, to)


def run_local(
    work: Work,
    job: ShuffleJob,
    names: list[str],
    memory: Memory,
    unchanged: Callable[[], None],
    client: Any | None,
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """Write the datasets of a job into a local collection; return their entries in the manifest."""
    ready = [work.is_ready(number, name) for number, name in enumerate(names)]
    if not all(ready):
        shuffled = shuffle_rows(job, memory, work.root, work.spill, client, progress)
        unchanged()

        def finish(number: int, target: Target) -> None:
            start, stop = job.rows_of(number)
            work.finish(number, target, stop - start)

        if client is not None and isinstance(shuffled, OnDisk):
            from .cluster import write_datasets

            with _bar("Writing", job, progress) as bar:
                write_datasets(client, job, shuffled, work, names, lambda n: _advance(bar, n))
        else:
            write_each(job, shuffled, work.target, finish, lambda number: ready[number], progress)
    added: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        start, stop = job.rows_of(number)
        added[name] = {"n_obs": stop - start, "metadata_crc32c": work.metadata_checksum(number, name)}
    work.publish(added)
    return added
