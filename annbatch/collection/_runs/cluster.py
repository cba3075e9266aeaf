"""The passes of a conversion as tasks on a Dask cluster, whose workers see the collection under the same path.

A task gets a number, and what all tasks share through Dask: no function is read from a file. Its result is a file that
appears by one rename: a task that runs twice changes nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._resources.pages import RowMemory
from .._shuffle.first_pass import WINDOW_BLOCKS
from .._shuffle.on_disk import spill, spilled
from .._state.work import Work
from .._writing.dataset import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._shuffle.job import ShuffleJob
    from .._shuffle.on_disk import Buckets, OnDisk, Part

_RETRIES = 3  # per task whose worker died or failed


def _each(client: Any, task: Callable[[Any, int], None], shared: Any, numbers: Sequence[int]) -> Iterator[int]:
    """Run a task per number, each with what all of them share; yield the numbers as tasks finish."""
    from distributed import as_completed

    # To all workers, so that one that dies does not take it along.
    everywhere = client.scatter([shared], broadcast=True, hash=False)[0]
    futures = client.map(task, [everywhere] * len(numbers), numbers, pure=False, retries=_RETRIES)
    number_of = {future.key: number for future, number in zip(futures, numbers, strict=True)}
    for future in as_completed(futures):
        future.result()
        yield number_of[future.key]


def _spill(folder: Path, shared: Any, number: int) -> None:
    job, buckets, ranges, block_bytes = shared
    memory = RowMemory(WINDOW_BLOCKS * block_bytes)
    if spilled(folder, number, memory) is None:
        spill(job, buckets, folder, number, ranges[number], block_bytes, memory)


def spill_parts(
    client: Any,
    job: ShuffleJob,
    buckets: Buckets,
    folder: Path,
    ranges: Sequence[tuple[int, int]],
    block_bytes: int,
    report: Callable[[int], None],
) -> list[Part]:
    """Spill every range of rows; return the parts in order."""
    shared = job, buckets, list(ranges), block_bytes
    for number in _each(client, partial(_spill, folder), shared, range(len(ranges))):
        report(ranges[number][1] - ranges[number][0])
    memory = RowMemory()
    parts = [spilled(folder, number, memory) for number in range(len(ranges))]
    return [part for part in parts if part is not None]


def _write(root: Path, names: Sequence[str], shared: Any, number: int) -> None:
    work, (job, shuffled) = Work(root), shared
    if not work.is_ready(number, names[number]):
        target = work.target(number)
        write_dataset(job, shuffled, number, target, report=lambda _: None)
        start, stop = job.rows_of(number)
        work.finish(number, target, stop - start)


def write_datasets(
    client: Any, job: ShuffleJob, shuffled: OnDisk, work: Work, names: Sequence[str], report: Callable[[int], None]
) -> None:
    """Write every dataset."""
    task = partial(_write, work.root.absolute(), list(names))
    for number in _each(client, task, (job, shuffled), range(len(names))):
        start, stop = job.rows_of(number)
        report(stop - start)
