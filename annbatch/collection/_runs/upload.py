"""Collections in stores that are no local folder: each dataset is made on the local disk, then copied there.

So its bytes are those of a local collection, with the checksums of all its files, and the store sees each object once.
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
from .._writing.dataset import Place
from .build import build, shuffle_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zarr.core.buffer import Buffer
    from zarr.storage import StorePath

    from .._resources.limit import Memory
    from .._shuffle.job import ShuffleJob
    from .._state.location import Location

_AT_A_TIME = 4
"""Files that are copied at a time. A large one goes in parts, many at a time, by itself."""


def run_elsewhere(
    home: Location, job: ShuffleJob, names: list[str], memory: Memory, unchanged: Callable[[], None], progress: bool
) -> dict[str, dict[str, Any]]:
    """Make the datasets of a job and copy them to their places; return what the manifest says of them."""
    root, added = home.store_path, dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="annbatch-") as temporary:
        folder = Path(temporary)

        def place(number: int) -> Place:
            made = folder / names[number]
            return Place(zarr.open_group(made, mode="w", zarr_format=3), made)

        def done(number: int, made: Place) -> None:
            assert made.folder is not None
            start, stop = job.rows_of(number)
            seal(made.folder, stop - start, made.checksums)
            sync(_copy(made.folder, root / names[number]))
            known = checksum(made.folder / "zarr.json")[1]
            added[names[number]] = {"n_obs": stop - start, "metadata_crc32c": known}
            shutil.rmtree(made.folder)

        shuffled = shuffle_rows(job, memory, None, folder, None, progress)
        build(job, shuffled, place, done, lambda number: False, progress)
    unchanged()
    return added


async def _copy(folder: Path, to: StorePath) -> None:
    """Copy a dataset's files to a store, its root metadata last: until then there is no dataset."""
    await to.delete_dir()  # what a run that was cut off left
    root, turns = folder / "zarr.json", asyncio.Semaphore(_AT_A_TIME)

    async def copy(path: Path) -> None:
        async with turns:
            await (to / path.relative_to(folder).as_posix()).set(_content(path, to))

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != root)
    copying = [asyncio.ensure_future(copy(path)) for path in files]
    try:
        await asyncio.gather(*copying)
    finally:
        for one in copying:
            one.cancel()
    await copy(root)


def _content(path: Path, to: StorePath) -> Buffer:
    # A store of objects sends the bytes and lets go of them, so that they need not be in memory; others may keep them.
    read: Any = np.memmap if isinstance(to.store, ObjectStore) else np.fromfile
    return default_buffer_prototype().buffer.from_array_like(read(path, dtype=np.uint8))


@contextmanager
def writing(home: Location) -> Iterator[None]:
    """Hold a collection in a store for writing, and see it as it is.

    An object names the writer. It is put there on condition that there is none, which the stores of S3, GCS and Azure
    keep; it goes with the writer, unless that is killed.

    Raises
    ------
    StoreError
        If another writer holds it.
    """
    lock = home.store_path / LOCK
    writer = f"process {os.getpid()} on {os.uname().nodename} (since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
    own = json.dumps({"writer": writer, "call": uuid.uuid4().hex}).encode()
    sync(lock.set_if_not_exists(default_buffer_prototype().buffer.from_bytes(own)))
    found = sync(lock.get())
    # Not what the store says of the condition, but what is there: an answer may be lost, and the attempt repeated.
    if found is None or found.to_bytes() != own:
        holder = "another process" if found is None else json.loads(found.to_bytes()).get("writer")
        raise StoreError(
            f"{home} must have one writer at a time, and {holder} is writing to it. If that was killed, delete {lock}."
        )
    try:
        home.refresh()
        yield
    finally:
        with suppress(OSError):  # what went wrong before says more; and what stays is named to the next writer
            sync(lock.delete())
