"""Work under way: a hidden folder in the collection, one writer at a time, finished pieces to go on from.

Everything is made in ``.annbatch-work``. A dataset is renamed to ``ready-<number>`` there when all its files and their
checksums are on the disk; when all are ready, which they are is noted, they are renamed to their places, and last the
manifest is replaced: the one moment at which the collection changes. Killed before it, the collection is what it was;
killed after it, it is what it was to become. The same call again finds the folder by what tells the call apart (inputs,
arguments, seed) and goes on; another call removes it.

A call ends by removing the folder, and of that last the note of the call, ``call.json``. While the note is there and
the manifest's history is one call longer than when it was written, the call was carried out and not reported: the same
call again has nothing left to do. Once the note is gone the same call is a new one, that adds its rows once more.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from ...errors import StoreError
from .._writing.dataset import Place
from .files import checksum
from .manifest import OWN, WORK, dataset_number, flush, replace_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .manifest import Manifest

_FORM = 2  # of what is in the folder; a call goes on only from a folder of its own form, left by its own release
_MADE_BY = [version("annbatch"), _FORM]
_FLUSHES = 16  # at once: a journal takes them together, in the time of a few


class Work:
    """The folder of work under way; use as made by :func:`working`."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / WORK
        self.spill = self.folder / "spill"

    @property
    def _call(self) -> Path:
        return self.folder / "call.json"

    @property
    def _note(self) -> dict[str, Any]:
        return dict(json.loads(self._call.read_bytes())) if self._call.exists() else {}

    def was_done(self, manifest: Manifest) -> bool:
        """Return whether the run that left the folder came to its end, but for clearing up."""
        if not self._call.exists():
            return False
        # One writer at a time: if there is one call more than when this one began, it is this one.
        return len(manifest.history) == int(json.loads(self._call.read_bytes())["n_calls"]) + 1

    def is_of(self, call_key: dict[str, Any], seed: int | None) -> bool:
        """Return whether the run that left the folder was of the call that ``call_key`` and ``seed`` are."""
        known = self._note
        call = {key: value for key, value in known["call"].items() if key != "version"}  # where it stood before _FORM 2
        return call == json.loads(json.dumps(call_key)) and seed in (None, known["seed"])

    def begin(self, manifest: Manifest, call_key: dict[str, Any], seed: int | None) -> int | None:
        """Take up what an earlier run of the same call left.

        Parameters
        ----------
        manifest
            What the collection says of itself.
        call_key
            What the call is; JSON.
        seed
            The seed of this call, where that is the caller's; None where any will do.

        Returns
        -------
        int or None
            The seed to go on with; None if there is nothing to go on from.
        """
        self._refuse_strays(manifest.datasets)
        known = self._note
        if not known or not self.is_of(call_key, seed) or known["n_calls"] != len(manifest.history):
            return None
        if known.get("made_by") == _MADE_BY:
            return int(known["seed"])
        warnings.warn(
            f"{self.home}: this call was interrupted under another version of annbatch; starting it over.", stacklevel=2
        )
        return None

    def start(self, manifest: Manifest, call_key: dict[str, Any], seed: int) -> None:
        """Start anew: remove what another call left, and the datasets that it put in place without finishing."""
        self.remove_strays(manifest.datasets)
        self.clear()
        self.spill.mkdir()
        note = {"call": call_key, "made_by": _MADE_BY, "n_calls": len(manifest.history), "seed": seed}
        replace_json(self._call, note)

    def _strays(self, keep: Iterable[str]) -> list[Path]:
        """Return the datasets in the collection's folder that do not belong to it."""
        entries = sorted(self.home.iterdir())
        return [entry for entry in entries if dataset_number(entry.name) is not None and entry.name not in keep]

    def _refuse_strays(self, keep: Iterable[str]) -> None:
        """Raise :class:`StoreError` if there is a dataset that no call is known to have put there."""
        for stray in self._strays({*keep, *self._note.get("publishes", ())}):
            raise StoreError(
                f"{self.home} must hold no datasets but its own, got {stray.name}, which was copied there or left by a "
                f"call that was given up: move it away or delete it."
            )

    def remove_strays(self, keep: Iterable[str]) -> None:
        """Remove the datasets in the collection's folder that do not belong to it."""
        for stray in self._strays(keep):
            _remove(stray)

    def place(self, number: int) -> Place:
        """Return where a dataset is made; what an interrupted run left there is gone."""
        folder = self.folder / f"partial-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        return Place(zarr.open_group(folder, mode="w", zarr_format=3), folder)

    def is_ready(self, number: int, name: str) -> bool:
        """Return whether a dataset is complete, here or already in its place."""
        if (self.folder / f"ready-{number}").exists():
            return True
        noted, root = self._note.get("publishes", {}), self.home / name / "zarr.json"
        return name in noted and root.exists() and checksum(root)[1] == noted[name]["metadata_crc32c"]

    def sealed(self, number: int, name: str) -> int:
        """Return the checksum of the root metadata of a complete dataset."""
        ready = self.folder / f"ready-{number}"
        return checksum((ready if ready.exists() else self.home / name) / "zarr.json")[1]

    def finish(self, number: int, place: Place, n_obs: int) -> None:
        """Note the checksums of a complete dataset's files in it, and make it ready by one rename."""
        assert place.folder is not None
        seal(place.folder, n_obs, place.checksums)
        place.folder.rename(self.folder / f"ready-{number}")
        flush(self.folder)

    def publish(self, added: dict[str, dict[str, Any]]) -> None:
        """Note which datasets are ready, by name and with what the manifest will say, and move them to their places."""
        replace_json(self._call, self._note | {"publishes": added})
        for number, name in enumerate(added):
            ready = self.folder / f"ready-{number}"
            if ready.exists():
                ready.rename(self.home / name)
        flush(self.home)

    def was_of(self, call_key: dict[str, Any], seed: int | None) -> bool:
        """Return whether there is the note of a call, and it is of this one."""
        return self._call.exists() and self.is_of(call_key, seed)

    def note_files(self, call_key: dict[str, Any], seed: int, names: list[str]) -> None:
        """Note a call whose files are finished: all that is left is to move them to their places."""
        flush(self.folder)
        replace_json(self._call, {"call": call_key, "seed": seed, "files": names})

    def publish_files(self) -> None:
        """Move the files of the call that is noted to their places, but for those that are there already."""
        for name in self._note.get("files", ()):
            if (self.folder / name).exists():
                (self.folder / name).rename(self.home / name)
        flush(self.home)

    def clear(self) -> None:
        """Remove what is in the folder but for the lock; last the note of the call, which says what the rest is."""
        for entry in list(self.folder.iterdir()):
            if entry.name not in ("lock", self._call.name):
                _remove(entry)
        if self._call.exists():
            self._call.unlink()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def seal(folder: Path, n_obs: int, known: dict[str, tuple[int, int]]) -> None:
    """Note the checksums of all files of a dataset in its root attributes, and have all of it on the disk.

    Parameters
    ----------
    folder
        The dataset's.
    n_obs
        Its rows.
    known
        Size and checksum of files that are on the disk already, by absolute path.
    """
    root = folder / "zarr.json"
    inside = sorted(folder.rglob("*"))
    folders = [folder, *(path for path in inside if path.is_dir())]
    files = [path for path in inside if path != root and not path.is_dir()]
    with ThreadPoolExecutor(_FLUSHES, thread_name_prefix="annbatch-flush") as threads:
        list(threads.map(flush, (path for path in files if str(path) not in known)))
        checksums = {
            path.relative_to(folder).as_posix(): list(known.get(str(path)) or checksum(path)) for path in files
        }
        content = json.loads(root.read_bytes())
        content["attributes"][OWN] = {"n_obs": n_obs, "files": checksums}
        replace_json(root, content)
        list(threads.map(flush, folders))


@contextmanager
def working(home: Path) -> Iterator[Work]:
    """Hold the collection's folder for writing.

    Raises
    ------
    StoreError
        If another process is writing there, or the disk is full.
    """
    work = Work(home)
    lock = _lock(work)
    try:
        yield work
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) and not isinstance(error, StoreError):
            raise StoreError(
                error.errno,
                f"{home} cannot be written: {os.strerror(error.errno)}. The collection is as it was; with more room, "
                f"the same call goes on from what is done. To give it up, delete {work.folder}.",
            ) from error
        raise
    finally:
        if not (work.folder / "call.json").exists():  # all is done, or nothing was begun
            with suppress(OSError):  # what another writer uses by now stays
                work.clear()
                (work.folder / "lock").unlink()  # last: until then nobody else comes in
                work.folder.rmdir()
                home.rmdir()  # if it is empty
        os.close(lock)


def _unwritable(home: Path, error: OSError) -> StoreError:
    why = os.strerror(error.errno or errno.EIO)
    if home.is_symlink() and not home.exists():
        why = f"a link to {home.readlink()}, which does not exist"
    return StoreError(error.errno, f"{home} must be a folder that can be written, got: {why}.")


def _lock(work: Work) -> int:
    """Return a descriptor of the folder's lock, held; the kernel lets go of it when the process dies."""
    path = work.folder / "lock"
    for _ in range(1000):
        try:
            work.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and work.home.parent.exists() and not work.home.is_symlink():
                continue  # its last holder has removed the folder meanwhile
            raise _unwritable(work.home, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            writer = os.read(lock, 100).decode() or "another process"
            os.close(lock)
            raise StoreError(f"{work.home} must have one writer at a time, and {writer} is writing to it.") from error
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), path.stat()):
                break
        os.close(lock)  # its last holder has removed it meanwhile
    else:
        raise StoreError(f"{work.home} must have one writer at a time, and others come and go.")
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {os.uname().nodename}".encode())
    return lock
