"""Collections in stores that are no local folder: each dataset is made on the local disk, then uploaded.

Its bytes are therefore those of a local collection, with checksums of all files, and each object is written once. The
work folder lies in Python's temporary folder; from it, the same call on the same machine resumes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tempfile
import uuid
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISDIR
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import ObjectStore

from ...errors import StoreError, reading
from .._state.manifest import LOCK, WORK, dataset_number
from .._state.work import working
from .build import shuffle_rows, write_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zarr.core.buffer import Buffer
    from zarr.storage import StorePath

    from .._resources.limit import Memory
    from .._shuffle.job import ShuffleJob
    from .._state.location import Location
    from .._state.work import Work
    from .._writing.dataset import Target

_CONCURRENT = 4
"""Files to upload at a time. Large ones go in many parts at a time."""


def upload_datasets(
    location: Location,
    work: Work,
    job: ShuffleJob,
    names: list[str],
    memory: Memory,
    unchanged: Callable[[], None],
    progress: bool,
) -> dict[str, dict[str, Any]]:
    """Make the datasets of a job and upload them; return their entries in the manifest."""
    root = location.store_path
    added = {name: entry for name, entry in work.published.items() if _has(root / name, entry)}

    def upload(number: int) -> None:
        start, stop = job.rows_of(number)
        known = work.metadata_checksum(number, names[number])
        entry = {"n_obs": stop - start, "metadata_crc32c": known}
        work.note_published(added | {names[number]: entry})
        sync(_upload(work.ready(number), root / names[number]))
        added[names[number]] = entry
        work.discard(number)

    def finish(number: int, made: Target) -> None:
        start, stop = job.rows_of(number)
        work.finish(number, made, stop - start)
        upload(number)

    for number, name in enumerate(names):
        if name not in added and work.ready(number).exists():
            upload(number)
    if len(added) < len(names):
        shuffled = shuffle_rows(job, memory, None, work.spill, None, progress)
        write_each(job, shuffled, work.target, finish, lambda number: names[number] in added, progress)
    unchanged()
    return {name: added[name] for name in names}


def note_datasets(location: Location, names: list[str]) -> None:
    """Mark a collection as one that is being written to, and note the datasets that may be there at the end."""
    location.claim()
    note = json.dumps({"datasets": names}).encode()
    sync((location.store_path / WORK).set(default_buffer_prototype().buffer.from_bytes(note)))


def remove_noted(location: Location, keep: Iterable[str]) -> None:
    """Remove the datasets that a call, of any machine, has noted and not kept; then the note."""
    note = location.store_path / WORK
    found = sync(note.get())
    if found is None:
        return
    with reading(str(note)):
        names = {str(name) for name in json.loads(found.to_bytes())["datasets"]}
    for name in names - {*keep}:
        if dataset_number(name) is not None:
            sync((location.store_path / name).delete_dir())
    sync(note.delete())


def _has(path: StorePath, entry: dict[str, Any]) -> bool:
    """Return whether a dataset was uploaded: its root metadata, which are written last, are those of the entry."""
    found = sync((path / "zarr.json").get())
    return found is not None and google_crc32c.value(found.to_bytes()) == entry["metadata_crc32c"]


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
def working_on_store(location: Location) -> Iterator[Work]:
    """Lock a collection in a store for writing, read its present metadata, and yield the work folder of this machine.

    The lock is an object that names the writer, written on condition that there is none, which the stores of S3, GCS
    and Azure respect. The writer deletes it at the end. If it is killed, the next one on the same machine deletes it,
    as it holds the lock of the work folder, too.

    Raises
    ------
    StoreError
        If another writer holds the lock.
    """
    lock = location.store_path / LOCK
    found = sync(lock.get())
    with ExitStack() as stack:
        root = _work_root(location, stack)
        try:
            work = stack.enter_context(working(root))
        except StoreError as error:
            if found is None or not isinstance(error.__cause__, BlockingIOError):
                raise
            raise _locked(location, found.to_bytes()) from error
        stack.enter_context(_lock(location, lock, root / "lock.json"))
        location.refresh()
        yield work


def _work_root(location: Location, stack: ExitStack) -> Path:
    """Return a folder for the work on a collection: the same one for each call, where the store outlives the process.

    Raises
    ------
    StoreError
        If others may write to it: the temporary folder is everybody's.
    """
    scheme, separator, _ = str(location).partition("://")
    if not separator or "memory" in scheme:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="annbatch-")))
    # Machines may share the folder, and yet not see each other's locks.
    name = hashlib.blake2b(f"{os.uname().nodename} {location}".encode(), digest_size=8).hexdigest()
    root = Path(tempfile.gettempdir(), f"annbatch-{os.geteuid()}-{name}").absolute()
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise StoreError(f"{root} must be a folder that only you can write to: delete it, or set TMPDIR.")
    return root


@contextmanager
def _lock(location: Location, lock: StorePath, note: Path) -> Iterator[None]:
    """Write a lock, and delete it at the end; the same bytes are noted on this machine first."""
    writer = f"process {os.getpid()} on {os.uname().nodename} (since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC)"
    own = json.dumps({"writer": writer, "call": uuid.uuid4().hex}).encode()
    if note.exists() and (found := sync(lock.get())) is not None and found.to_bytes() == note.read_bytes():
        sync(lock.delete())  # of a process that is gone, as it held the lock of the work folder
    note.write_bytes(own)
    sync(lock.set_if_not_exists(default_buffer_prototype().buffer.from_bytes(own)))
    found = sync(lock.get())
    # Read it back instead of trusting the response: one may be lost, and the request be repeated.
    if found is None or found.to_bytes() != own:
        note.unlink()
        raise _locked(location, None if found is None else found.to_bytes())
    try:
        yield
    finally:
        with suppress(OSError):  # an earlier error says more; and the next writer is told about the lock
            sync(lock.delete())
            note.unlink()


def _locked(location: Location, lock: bytes | None) -> StoreError:
    with reading(str(location.store_path / LOCK)):
        holder = "another process" if lock is None else json.loads(lock).get("writer")
    return StoreError(
        f"{location} must have one writer at a time, and {holder} is writing to it. "
        f"If that was killed, delete {location.store_path / LOCK}."
    )
