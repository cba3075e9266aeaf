"""Work in progress: a hidden folder in the collection, with one writer at a time, from which a killed call resumes.

Everything is made in ``.annbatch-work``. A dataset is renamed to ``ready-<number>`` once all its files and their
checksums are on the disk. When all are ready, their names are noted, they are moved into the collection, and last the
manifest is replaced: the one moment at which the collection changes. A call that is killed before leaves the collection
as it was; one that is killed after has changed it. The same call, made again, finds the folder by the call's key
(inputs, arguments) and seed, and resumes; another call removes it.

A call ends by removing the folder; the note of the call, ``call.json``, goes last. While the note is there and the
manifest's history is one call longer than the note says, the call was carried out but did not return: the same call,
made again, has nothing left to do. Once the note is gone, the manifest tells which inputs have been added.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import zarr

from ..._format.metadata_files import parse_json, read_metadata
from ..._warn import warn
from ...errors import CorruptDataError, StoreError
from .._writing.dataset import Target
from .files import checksum
from .manifest import ATTRIBUTE, WORK, dataset_number, flush, replace_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..._format.checksums import Checksums
    from .manifest import Manifest

_FORM = 2
"""Form of the work folder. Increase it with every change of its contents, so that calls of earlier forms start over."""

_MADE_BY = [version("annbatch"), _FORM]
_FLUSHES = 16  # at a time: a journal takes them together, in the time of a few


class Work:
    """The work folder of a collection, as :func:`working` locks it."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / WORK
        self.spill = self.folder / "spill"

    @property
    def _call(self) -> Path:
        return self.folder / "call.json"

    @property
    def _note(self) -> dict[str, Any]:
        """Note of the call; empty if there is none.

        Raises
        ------
        CorruptDataError
            If it is not of the form that this package writes, or names files outside of the collection.
        """
        if not self._call.exists():
            return {}
        try:
            note = dict(parse_json(read_metadata(self._call)))
            names = [Path(name).stem if name.endswith(".h5ad") else "" for name in note.get("files", ())]
            names += dict(note.get("publishes", {}))
            right = isinstance(note["call"], dict) and all(dataset_number(name) is not None for name in names)
            right &= isinstance(note["seed"], int) and ("files" in note or isinstance(note["n_calls"], int))
            right &= all(Path(name).name == name for name in note.get("files", ()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptDataError(f"{self._call} must be the note of a call ({error!r}): {self._give_up}.") from error
        if not right:
            raise CorruptDataError(f"{self._call} must be the note of a call: {self._give_up}.")
        return note

    @property
    def _give_up(self) -> str:
        return f"to give the call up, delete {self.folder}"

    def refuse_others(self) -> None:
        """Raise :class:`StoreError` if anything in the folder is neither a file nor a folder.

        Files elsewhere would change through a link, and a pipe would be waited for.
        """
        for folder, folders, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in (*folders, *names)):
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    kind = "link" if path.is_symlink() else "pipe or device"
                    raise StoreError(f"{path} must not be a {kind}, which this package never makes: {self._give_up}.")

    def was_carried_out(self, manifest: Manifest) -> bool:
        """Return whether the call that left the folder has changed the collection, and only its end is missing."""
        # One writer at a time: if there is one call more than when this one began, it is this one. Work for a store
        # may meet another collection of the same name, which does not have its datasets.
        note = self._note
        there = all(manifest.datasets.get(name) == entry for name, entry in self.published.items())
        return bool(self.published) and there and len(manifest.history) == note["n_calls"] + 1

    def is_of(self, call_key: dict[str, Any], seed: int | None) -> bool:
        """Return whether the folder was left by the call with this key and seed; any seed will do for None."""
        note = self._note
        if not note:
            return False
        known = {key: value for key, value in note["call"].items() if key != "version"}  # of form 1
        return known == json.loads(json.dumps(call_key)) and seed in (None, note["seed"])

    @property
    def published(self) -> dict[str, dict[str, Any]]:
        """Datasets that the noted call moves or uploads into the collection, with their entries in the manifest."""
        return dict(self._note.get("publishes", {}))

    def resume(self, n_calls: int, call_key: dict[str, Any], seed: int | None) -> int | None:
        """Take up the work that an earlier run of the same call left.

        Parameters
        ----------
        n_calls
            Number of calls that made the collection, or of its h5ad files.
        call_key
            Key of the call; JSON.
        seed
            Seed of the call; None if the caller gave none.

        Returns
        -------
        int or None
            Seed of the earlier run; None if there is nothing to resume from.
        """
        if not self.is_of(call_key, seed) or self._note.get("n_calls") != n_calls:
            return None
        if self._note.get("made_by") == _MADE_BY:
            return int(self._note["seed"])
        text = f"{self.root}: this call was interrupted under another version of annbatch; starting it over."
        warn(text)
        return None

    def start(self, n_calls: int, call_key: dict[str, Any], seed: int) -> None:
        """Start from scratch: remove what another call left."""
        self.clear()
        self.spill.mkdir()
        note = {"call": call_key, "made_by": _MADE_BY, "n_calls": n_calls, "seed": seed}
        replace_json(self._call, note)

    def _strays(self, keep: Iterable[str]) -> list[Path]:
        """Return the datasets in the collection's folder that do not belong to it."""
        entries = sorted(self.root.iterdir())
        return [entry for entry in entries if dataset_number(entry.name) is not None and entry.name not in keep]

    def refuse_strays(self, keep: Iterable[str]) -> None:
        """Raise :class:`StoreError` if there is a dataset that neither the collection nor the noted call knows."""
        for stray in self._strays({*keep, *self._note.get("publishes", ())}):
            raise StoreError(
                f"{self.root} must hold no datasets but its own, got {stray.name}, which was copied there or left by a "
                f"call that was given up: move it away or delete it."
            )

    def remove_strays(self, keep: Iterable[str]) -> None:
        """Remove the datasets in the collection's folder that do not belong to it."""
        for stray in self._strays(keep):
            _remove(stray)

    def target(self, number: int) -> Target:
        """Return an empty group for a dataset to be written to."""
        folder = self.folder / f"partial-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        return Target(zarr.open_group(folder, mode="w", zarr_format=3), folder)

    def ready(self, number: int) -> Path:
        """Return the folder of a dataset that is complete, and not yet in the collection."""
        return self.folder / f"ready-{number}"

    def is_ready(self, number: int, name: str) -> bool:
        """Return whether a dataset is complete, in the work folder or already in the collection."""
        if self.ready(number).exists():
            return True
        published, path = self.published, self.root / name / "zarr.json"
        return name in published and path.exists() and checksum(path)[1].crc32c == published[name]["metadata_crc32c"]

    def discard(self, number: int) -> None:
        """Remove a complete dataset: none is ready from the first step on."""
        self.ready(number).rename(self.folder / f"partial-{number}")
        shutil.rmtree(self.folder / f"partial-{number}")

    def metadata_checksum(self, number: int, name: str) -> int:
        """Return the CRC-32C of a complete dataset's root metadata."""
        ready = self.ready(number)
        return checksum((ready if ready.exists() else self.root / name) / "zarr.json")[1].crc32c

    def finish(self, number: int, target: Target, n_obs: int) -> None:
        """Add checksums to a complete dataset, and mark it as ready by one rename."""
        assert target.folder is not None
        seal(target.folder, n_obs, target.checksums)
        target.folder.rename(self.ready(number))
        flush(self.folder)

    def note_published(self, added: dict[str, dict[str, Any]]) -> None:
        """Note datasets, by name and with their entries in the manifest."""
        replace_json(self._call, self._note | {"publishes": added})

    def publish(self, added: dict[str, dict[str, Any]]) -> None:
        """Note the new datasets, by name and with their entries in the manifest, and move them into the collection."""
        self.note_published(added)
        for number, name in enumerate(added):
            if self.ready(number).exists():
                self.ready(number).rename(self.root / name)
        flush(self.root)

    def note_files(self, call_key: dict[str, Any], seed: int, names: list[str]) -> None:
        """Note a call whose h5ad files are complete, and only have to be moved into the collection."""
        flush(self.folder)
        replace_json(self._call, {"call": call_key, "seed": seed, "files": names})

    def publish_files(self) -> bool:
        """Move the files of the noted call into the collection, but for those that are there already.

        Returns
        -------
        bool
            Whether there is such a note, so that the call has been carried out.

        Raises
        ------
        StoreError
            If another file came to be where one of them belongs.
        """
        files = self._note.get("files", ())
        for name in files:
            if (self.folder / name).exists():
                if (self.root / name).exists():
                    raise StoreError(f"{self.root / name} must not be there, as a killed call made it: move it away.")
                (self.folder / name).rename(self.root / name)
        flush(self.root)
        return bool(files)

    def clear(self) -> None:
        """Empty the folder, but for the lock; the note of the call, which explains the rest, goes last."""
        for entry in list(self.folder.iterdir()):
            if entry.name not in ("lock", self._call.name):
                _remove(entry)
        if self._call.exists():
            self._call.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def seal(folder: Path, n_obs: int, known: dict[str, tuple[int, Checksums]]) -> None:
    """Add the checksums of a dataset's files to its root attributes, and wait until all of it is on the disk.

    Parameters
    ----------
    folder
        Folder of the dataset.
    n_obs
        Rows of the dataset.
    known
        Size and checksums of files that are on the disk already, by absolute path.
    """
    root = folder / "zarr.json"
    inside = sorted(folder.rglob("*"))
    folders = [folder, *(path for path in inside if path.is_dir())]
    files = [path for path in inside if path != root and not path.is_dir()]
    with ThreadPoolExecutor(_FLUSHES, thread_name_prefix="annbatch-flush") as threads:
        list(threads.map(flush, (path for path in files if str(path) not in known)))
        found = {path.relative_to(folder).as_posix(): known.get(str(path)) or checksum(path) for path in files}
        content = json.loads(root.read_bytes())
        content["attributes"][ATTRIBUTE] = {
            "n_obs": n_obs,
            "files": {name: [size, checksums.crc32c] for name, (size, checksums) in found.items()},
            "crc32": {name: checksums.crc32 for name, (_, checksums) in found.items()},
        }
        replace_json(root, content)
        list(threads.map(flush, folders))


@contextmanager
def working(root: Path) -> Iterator[Work]:
    """Lock a collection's folder for writing.

    Raises
    ------
    StoreError
        If another process is writing there, or the disk is full.
    """
    work = Work(root)
    lock = _lock(work)
    try:
        work.refuse_others()
        yield work
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not isinstance(error, StoreError):
            raise StoreError(
                error.errno,
                f"{root} cannot be written: {os.strerror(error.errno)}. The collection is as it was; with more space, "
                f"the same call resumes. To give it up, delete {work.folder}.",
            ) from error
        raise
    finally:
        if not os.path.lexists(work.folder / "call.json"):  # finished, or not begun
            with suppress(OSError):  # what another writer uses by now stays
                work.clear()
                (work.folder / "lock").unlink()  # last, as it keeps others out
                work.folder.rmdir()
                root.rmdir()  # if it is empty
        os.close(lock)


def _unwritable(folder: Path, error: OSError) -> StoreError:
    why = os.strerror(error.errno or errno.EIO)
    if folder.is_symlink() and not folder.exists():
        why = f"a link to {folder.readlink()}, which does not exist"
    return StoreError(error.errno, f"{folder} must be a folder that can be written, got: {why}.")


def _lock(work: Work) -> int:
    """Lock the folder and return a descriptor of the lock, which the kernel releases when the process ends."""
    path = work.folder / "lock"
    for _ in range(1000):
        try:
            work.folder.mkdir(parents=True, exist_ok=True)
            if work.folder.is_symlink():
                raise StoreError(f"{work.folder} must be a folder, got a link to {work.folder.readlink()}: delete it.")
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except StoreError:
            raise
        except OSError as error:
            if path.is_symlink():
                raise StoreError(f"{path} must be a file, got a link to {path.readlink()}: delete it.") from error
            if isinstance(error, FileNotFoundError) and work.root.parent.exists() and not work.root.is_symlink():
                continue  # its last holder has just removed the folder
            raise _unwritable(work.root, error) from error
        stat = os.fstat(lock)
        if not S_ISREG(stat.st_mode) or stat.st_nlink > 1:
            os.close(lock)
            raise StoreError(f"{path} must be a regular file under one name, as it is written to: delete it.")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            writer = os.read(lock, 100).decode() or "another process"
            os.close(lock)
            raise StoreError(f"{work.root} must have one writer at a time, and {writer} is writing to it.") from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                break
        os.close(lock)  # its last holder has just removed it
    else:
        raise StoreError(f"{work.root} must have one writer at a time, and others keep coming.")
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {os.uname().nodename}".encode())
    return lock
