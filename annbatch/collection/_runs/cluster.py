"""The passes of a conversion as tasks on a Dask cluster, whose workers see the collection under the same path.

A task gets a folder and a number, and finds everything else in the folder, as does a worker that replaces a dead one.
Its result is a file that appears by one rename: a task that runs twice changes nothing. The folder's pickles are read
by the workers of the run that wrote them, and by no later one.
"""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
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


def _save(path: Path, value: object) -> None:
    """Save a value for the workers; functions that the caller's program defines are pickled with it."""
    import cloudpickle  # Dask needs it too

    path.write_bytes(cloudpickle.dumps(value))


@lru_cache(maxsize=2)
def _cached(path: Path, _changed: int) -> Any:
    return pickle.loads(path.read_bytes())


def _load(path: Path) -> Any:
    return _cached(path, path.stat().st_mtime_ns)


def _each(client: Any, task: Callable[[int], None], numbers: Sequence[int]) -> Iterator[int]:
    """Run a task per number; yield the numbers as tasks finish."""
    from distributed import as_completed

    futures = client.map(task, numbers, pure=False, retries=_RETRIES)
    number_of = {future.key: number for future, number in zip(futures, numbers, strict=True)}
    for future in as_completed(futures):
        future.result()
        yield number_of[future.key]


def _spill(folder: Path, number: int) -> None:
    job, buckets, ranges, block_bytes = _load(folder / "job.pickle")
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
    _save(folder / "job.pickle", (job, buckets, list(ranges), block_bytes))
    for number in _each(client, partial(_spill, folder), range(len(ranges))):
        report(ranges[number][1] - ranges[number][0])
    memory = RowMemory()
    parts = [spilled(folder, number, memory) for number in range(len(ranges))]
    return [part for part in parts if part is not None]


def _write(root: Path, names: Sequence[str], number: int) -> None:
    work = Work(root)
    job, shuffled = _load(work.spill / "shuffled.pickle")
    if not work.is_ready(number, names[number]):
        target = work.target(number)
        write_dataset(job, shuffled, number, target, report=lambda _: None)
        start, stop = job.rows_of(number)
        work.finish(number, target, stop - start)


def write_datasets(
    client: Any, job: ShuffleJob, shuffled: OnDisk, work: Work, names: Sequence[str], report: Callable[[int], None]
) -> None:
    """Write every dataset."""
    _save(work.spill / "shuffled.pickle", (job, shuffled))
    for number in _each(client, partial(_write, work.root.absolute(), list(names)), range(len(names))):
        start, stop = job.rows_of(number)
        report(stop - start)
