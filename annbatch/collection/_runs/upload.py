"""Collections in stores that are no local folder: each dataset is made on the local disk, then uploaded.

Its bytes are therefore those of a local collection, with checksums of all files, and each object is written once.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from ...errors import StoreError
from .._state.files import checksum
from .._state.manifest import LOCK
from .._state.work import seal
from .._writing.dataset import Target
from .build import shuffle_rows, write_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarr.core.buffer import Buffer
    from zarr.storage import StorePath

    from .._resources.limit import Memory
    from .._shuffle.job import ShuffleJob
    from .._state.location import Location

_CONCURRENT = 4
"""Files to upload at a time. Large ones go in many parts at a time."""


def upload_datasets(
    location: Location, job: ShuffleJob, names: list[str], memory: Memory, unchanged: Callable[[], None], progress: bool
) -> dict[str, dict[str, Any]]:
    """Make the datasets of a job and upload them; return their entries in the manifest."""
    root, added = location.store_path, dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="annbatch-") as temporary:
        folder = Path(temporary)

        def target(number: int) -> Target:
            made = folder / names[number]
            return Target(zarr.open_group(made, mode="w", zarr_format=3), made)

        def finish(number: int, made: Target) -> None:
            assert made.folder is not None
            start, stop = job.rows_of(number)
            seal(made.folder, stop - start, made.checksums)
            sync(_upload(made.folder, root / names[number]))
            known = checksum(made.folder / "zarr.json")[1]
            added[names[number]] = {"n_obs": stop - start, "metadata_crc32c": known}
            shutil.rmtree(made.folder)

        shuffled = shuffle_rows(job, memory, None, folder, None, progress)
        write_each(job, shuffled, target, finish, lambda number: False, progress)
    unchanged()
    return added


async def _upload(folder: Path, to: StorePath) -> None:
    """Upload a dataset's files, its root metadata last: until then there is no dataset."""
    await to.delete_dir()  # left by an interrupted run
    root, slots = folder / "zarr.json", asyncio.Semaphore(_CONCURRENT)

    async def upload(path: Path) -> None:
        async with slots:
            await (to / path.relative_to(folder).as_posix()).set(_content(path, to))

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != root)
    uploads = [asyncio.ensure_future(upload(path)) for path in files]
    try:
        await asyncio.gather(*uploads)
    finally:
        for one in uploads:
            one.cancel()
    await upload(root)


def _content(path: Path, to: StorePath) -> Buffer:
    # An object store sends the bytes and keeps none, so that they may stay on disk; other stores may keep the array.
    read: Any = np.memmap if isinstance(to.store, ObjectStore) else np.fromfile
    return default_buffer_prototype().buffer.from_array_like(read(path, dtype=np.uint8))


@contextmanager
def locked(location: Location) -> Iterator[None]:
    """Lock a collection in a store for writing, and read its present metadata.

    The lock is an object that names the writer, written on condition that there is none, which the stores of S3, GCS
    and Azure respect. The writer deletes it at the end, unless it is killed.

    Raises
    ------
    StoreError
        If another writer holds the lock.
    """
    lock = location.store_path / LOCK
    writer = f"process {os.getpid()} on {os.uname().nodename} (since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
    own = json.dumps({"writer": writer, "call": uuid.uuid4().hex}).encode()
    sync(lock.set_if_not_exists(default_buffer_prototype().buffer.from_bytes(own)))
    found = sync(lock.get())
    # Read it back instead of trusting the response: one may be lost, and the request be repeated.
    if found is None or found.to_bytes() != own:
        holder = "another process" if found is None else json.loads(found.to_bytes()).get("writer")
        raise StoreError(
            f"{location} must have one writer at a time, and {holder} is writing to it. "
            f"If that was killed, delete {lock}."
        )
    try:
        location.refresh()
        yield
    finally:
        with suppress(OSError):  # an earlier error says more; and the next writer is told about the lock
            sync(lock.delete())
