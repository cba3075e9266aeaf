"""Work under way: a hidden folder in the collection, one writer at a time, finished pieces to go on from.

Everything is made in ``.annbatch-work``. A dataset is renamed to ``ready-<number>`` there when all its files and their
checksums are written; when all are ready they are renamed to their places, and last the manifest is replaced. Killed
before that, the collection is what it was; killed after, it is what it was to become. The same call again finds the
folder by its fingerprint (inputs, arguments, seed) and goes on; another call removes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import zarr

from .._sizes import spell_bytes
from ..errors import StoreError
from ._manifest import OWN, WORK, dataset_number, replace_json
from ._write import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ._manifest import Manifest

_READ = 16 << 20


def checksum(path: Path) -> tuple[int, int]:
    """Return the size of a file and the CRC-32C of its bytes."""
    crc = size = 0
    with open(path, "rb", buffering=0) as file:
        while data := file.read(_READ):
            crc, size = google_crc32c.extend(crc, data), size + len(data)
    return size, crc


class Work:
    """The folder of work under way; use as made by :func:`working`."""

    def __init__(self, home: Path) -> None:
        self.home, self.folder = home, home / WORK
        self.spill = self.folder / "spill"

    @property
    def _call(self) -> Path:
        return self.folder / "call.json"

    def was_done(self, manifest: Manifest) -> bool:
        """Return whether the run that left the folder came to its end, but for clearing up."""
        if not self._call.exists():
            return False
        # One writer at a time: if there is one call more than when this one began, it is this one.
        return len(manifest.history) == int(json.loads(self._call.read_bytes())["n_calls"]) + 1

    def clear_up(self, told_apart_by: dict[str, Any], seed: int | None) -> bool:
        """Remove what that run left; return whether it was of the same call, so that nothing is left to do."""
        known = json.loads(self._call.read_bytes())
        for entry in list(self.folder.iterdir()):
            if entry.name != "lock":
                _remove(entry)
        return known["call"] == json.loads(json.dumps(told_apart_by)) and seed in (None, known["seed"])

    def begin(self, manifest: Manifest, told_apart_by: dict[str, Any], seed: int | None) -> int | None:
        """Take up what an earlier run of the same call left.

        Parameters
        ----------
        manifest
            What the collection says of itself.
        told_apart_by
            What the call is; JSON.
        seed
            The seed of this call, where that is the caller's; None where any will do.

        Returns
        -------
        int or None
            The seed to go on with; None if there is nothing to go on from.
        """
        if self._call.exists():
            known = json.loads(self._call.read_bytes())
            same = known["call"] == json.loads(json.dumps(told_apart_by))
            if same and known["n_calls"] == len(manifest.history) and seed in (None, known["seed"]):
                return int(known["seed"])
        return None

    def start(self, manifest: Manifest, told_apart_by: dict[str, Any], seed: int) -> None:
        """Start anew: remove what another call left, and the datasets that it put in place without finishing."""
        if self._call.exists():
            self.remove_strays(manifest.datasets)
        for entry in list(self.folder.iterdir()):
            if entry.name != "lock":
                _remove(entry)
        self.spill.mkdir()
        replace_json(self._call, {"call": told_apart_by, "n_calls": len(manifest.history), "seed": seed})

    def remove_strays(self, keep: Iterable[str]) -> None:
        """Remove the datasets in the collection's folder that do not belong to it."""
        for entry in list(self.home.iterdir()):
            if dataset_number(entry.name) is not None and entry.name not in keep:
                _remove(entry)

    def place(self, number: int) -> Place:
        """Return where a dataset is made; what an interrupted run left there is gone."""
        folder = self.folder / f"partial-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        return Place(zarr.open_group(folder, mode="w", zarr_format=3), folder)

    def is_ready(self, number: int, name: str) -> bool:
        """Return whether a dataset is complete, here or already in its place."""
        return (self.folder / f"ready-{number}").exists() or (self.home / name).exists()

    def finish(self, number: int, place: Place, n_obs: int) -> None:
        """Note the checksums of a complete dataset's files in it, and make it ready by one rename."""
        assert place.folder is not None
        seal(place.folder, n_obs, place.checksums)
        place.folder.rename(self.folder / f"ready-{number}")

    def publish(self, names: dict[int, str]) -> None:
        """Move ready datasets to their places."""
        for number, name in names.items():
            ready = self.folder / f"ready-{number}"
            if ready.exists():
                ready.rename(self.home / name)

    def remove(self) -> None:
        """Remove the folder: the work is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def require_space(self, nbytes: float) -> None:
        """Raise :class:`StoreError` if the disk has less room than needed."""
        free = shutil.disk_usage(self.folder).free
        if nbytes > free:
            raise StoreError(
                errno.ENOSPC, f"{self.home} needs about {spell_bytes(nbytes)} of free disk, got {spell_bytes(free)}."
            )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def seal(folder: Path, n_obs: int, known: dict[str, tuple[int, int]]) -> None:
    """Note the checksums of all files of a dataset in its root attributes."""
    root = folder / "zarr.json"
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != root):
        files[path.relative_to(folder).as_posix()] = list(known.get(str(path)) or checksum(path))
    content = json.loads(root.read_bytes())
    content["attributes"][OWN] = {"n_obs": n_obs, "files": files}
    replace_json(root, content)


@contextmanager
def working(home: Path) -> Iterator[Work]:
    """Hold the collection's folder for writing.

    Raises
    ------
    StoreError
        If another process is writing there, or the disk is full.
    """
    work = Work(home)
    work.folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(work.folder / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it when the process dies
        except OSError as error:
            writer = os.read(lock, 100).decode() or "another process"
            raise StoreError(f"{home} must have one writer at a time, and {writer} is writing to it.") from error
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {os.uname().nodename}".encode())
        try:
            yield work
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, StoreError):
                raise StoreError(
                    f"The disk of {home} is full. The collection is as it was; with more room, the same call goes on "
                    f"from what is done. To give it up, delete {work.folder}."
                ) from error
            raise
    finally:
        os.close(lock)
        if work.folder.exists() and not (work.folder / "call.json").exists():
            work.remove()  # nothing was begun
            _remove_if_empty(home)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
