"""The same passes as tasks on a Dask cluster whose workers see the collection's folder under the same path.

A task is told a folder and a number; what it needs besides lies in the folder, so that a worker that replaces a dead
one finds it. Its result is a file that appears by one rename: a task that runs twice changes nothing.
"""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._resources.pages import RowMemory
from .._shuffle.in_memory import WINDOW_BLOCKS
from .._shuffle.on_disk import spill, spilled
from .._state.work import Work
from .._writing.dataset import write_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .._shuffle.job import ShuffleJob
    from .._shuffle.on_disk import Buckets, OnDisk, Part

_RETRIES = 3  # of a task whose worker died or failed


def _leave(path: Path, value: object) -> None:
    """Leave a value for the workers; functions of the caller's own program are pickled with it."""
    import cloudpickle  # Dask needs it too

    path.write_bytes(cloudpickle.dumps(value))


@lru_cache(maxsize=2)
def _find(path: Path, _changed: int) -> Any:
    return pickle.loads(path.read_bytes())


def _left(path: Path) -> Any:
    return _find(path, path.stat().st_mtime_ns)


def _each(client: Any, task: Callable[[int], None], numbers: Sequence[int]) -> Iterator[int]:
    """Run a task for each number; yield the numbers as they are done."""
    from distributed import as_completed

    futures = client.map(task, numbers, pure=False, retries=_RETRIES)
    number_of = {future.key: number for future, number in zip(futures, numbers, strict=True)}
    for future in as_completed(futures):
        future.result()
        yield number_of[future.key]


def _spill(folder: Path, number: int) -> None:
    job, buckets, ranges, block_bytes = _left(folder / "job.pickle")
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
    _leave(folder / "job.pickle", (job, buckets, list(ranges), block_bytes))
    for number in _each(client, partial(_spill, folder), range(len(ranges))):
        report(ranges[number][1] - ranges[number][0])
    memory = RowMemory()
    parts = [spilled(folder, number, memory) for number in range(len(ranges))]
    return [part for part in parts if part is not None]


def _write(home: Path, names: Sequence[str], number: int) -> None:
    work = Work(home)
    job, shuffled = _left(work.spill / "shuffled.pickle")
    if not work.is_ready(number, names[number]):
        place = work.place(number)
        write_dataset(job, shuffled, number, place, report=lambda _: None)
        start, stop = job.rows_of(number)
        work.finish(number, place, stop - start)


def write_datasets(
    client: Any, job: ShuffleJob, shuffled: OnDisk, work: Work, names: Sequence[str], report: Callable[[int], None]
) -> None:
    """Write every dataset."""
    _leave(work.spill / "shuffled.pickle", (job, shuffled))
    for number in _each(client, partial(_write, work.home.absolute(), list(names)), range(len(names))):
        start, stop = job.rows_of(number)
        report(stop - start)
