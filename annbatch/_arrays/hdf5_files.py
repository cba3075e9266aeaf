"""HDF5 files that h5py has open: read through descriptors of the same files, and opened by path in other processes.

What lies in other files, which may be of any kind and anywhere, is refused.

A path may come to mean another file: its name is relative and the working directory changes, or a file is renamed over
it. An open file is therefore never opened a second time by its path in the same process.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
from h5py import Dataset, Group

from .._format.attributes import where
from ..errors import CorruptDataError, StoreError, reading

if TYPE_CHECKING:
    from collections.abc import Callable


class Descriptor:
    """A descriptor of an HDF5 file, which stays open if h5py closes the file.

    Attributes
    ----------
    fd
        File descriptor; closed when nothing refers to this object.
    """

    _open: ClassVar[weakref.WeakValueDictionary[tuple[int, int], Descriptor]] = weakref.WeakValueDictionary()

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        weakref.finalize(self, os.close, self.fd)

    @classmethod
    def of(cls, file: h5py.File) -> Descriptor:
        """Return the descriptor of a plain file; its arrays share one, as processes may have few."""
        fd = file.id.get_vfd_handle()
        stat = os.fstat(fd)
        return cls._open.get((stat.st_dev, stat.st_ino)) or cls._open.setdefault((stat.st_dev, stat.st_ino), cls(fd))


@dataclass(frozen=True, slots=True)
class ByPath:
    """Pickles a dataset or group of an HDF5 file: unpickling opens it by path, and returns the dataset or group itself.

    Attributes
    ----------
    path
        Absolute path; None if there is none by which the open file can be found.
    state
        Size in bytes and time of modification in ns.
    name
        Name of the dataset or group.
    shown
        Name of the file in errors.
    """

    path: str | None
    state: tuple[int, int]
    name: str
    shown: str

    @classmethod
    def of(cls, node: Dataset | Group) -> ByPath:
        """Return how to find a dataset or group, while its path still leads to the open file."""
        file = node.file
        path, state = None, (0, 0)
        if file.driver == "sec2":
            stat = os.fstat(file.id.get_vfd_handle())
            state = stat.st_size, stat.st_mtime_ns
            if _leads_to(file.filename, stat):
                path = str(Path(file.filename).absolute())
        return cls(path, state, node.name, file.filename)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if self.path is None:
            raise StoreError(
                f"{self.shown} must be a file that other processes can open by this name, got one that was opened in "
                "another way, moved or replaced: open it by its absolute path."
            )
        return _open_again, (self.path, self.state, self.name)


def _open_again(path: str, state: tuple[int, int], name: str) -> Any:
    try:
        stat = Path(path).stat()
    except FileNotFoundError:
        raise StoreError(f"{path} must be there to be opened in this process, got no such file.") from None
    if state != (stat.st_size, stat.st_mtime_ns):
        raise CorruptDataError(f"{path} was replaced or changed since the loader was pickled: open it again.")
    return _of_one_file(h5py.File(path, "r"))[name]


def by_path(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of an object to pickle: datasets and groups of HDF5 files among its attributes by path."""
    return {key: ByPath.of(value) if isinstance(value, Dataset | Group) else value for key, value in state.items()}


def open_known(path: Path, name: str) -> Any:
    """Return a dataset or group of a file that a lazily read object names by its path.

    anndata keeps such a file open for other elements, so that the open file is taken, whatever the path means by now.

    Raises
    ------
    StoreError
        If files that are open under this name differ.
    """
    found: dict[tuple[int, int], h5py.File] = {}
    for one in h5py.h5f.get_obj_ids(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE):
        if one.name == os.fsencode(path):
            file = h5py.File(one)
            if file.driver == "sec2":
                stat = os.fstat(one.get_vfd_handle())
                found[stat.st_dev, stat.st_ino] = file
    if len(found) > 1:
        raise StoreError(f"{path} must be the name of one open file, got {len(found)}: open them by absolute paths.")
    file = found.popitem()[1] if found else h5py.File(path, "r")
    return _of_one_file(file)[name]


def refuse_external(array: Any) -> None:
    """Raise :class:`StoreError` if an HDF5 dataset keeps its values in other files, which may be of any kind."""
    if not isinstance(array, h5py.Dataset):
        return
    others = [file for file, *_ in array.external or ()]
    if array.is_virtual:
        others += [source.file_name for source in array.virtual_sources() if source.file_name != "."]
    if others:
        raise StoreError(
            f"{where(array)} must be stored in its own file, got values in {others[0]!r}: copy it into one file with "
            "h5py."
        )


def refuse_external_links(node: Any) -> None:
    """Raise :class:`StoreError` if the HDF5 file of a dataset or group has a link to another file, wherever it is."""
    if not isinstance(node, Dataset | Group) or not node:
        return
    file = node.file
    with reading(where(file)):
        found = file.id.links.visit(_is_external, info=True)
        link = None if found is None else file.get(found, getlink=True)
    if link is not None:
        target = f"`{link.path}` of {link.filename!r}" if isinstance(link, h5py.ExternalLink) else "an unknown place"
        raise StoreError(
            f"`{found.decode(errors='replace')}` of {file.filename} must be stored in its own file, got a link to "
            f"{target}: copy it into one file with h5py."
        )


def _is_external(name: bytes, info: Any) -> bytes | None:
    return None if info.type in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT) else name


def _of_one_file(file: h5py.File) -> h5py.File:
    refuse_external_links(file)
    return file


def _leads_to(path: str, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), file)
    except OSError:
        return False
