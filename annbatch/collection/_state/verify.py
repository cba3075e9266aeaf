"""A collection compared with its checksums."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

import google_crc32c

from ..._display import Section, Shown, Summary
from ..._format.metadata_files import parse_json
from ..._progress import progress_bar
from ...errors import CorruptDataError, NotACollectionError, RemoteError
from .attached import problem_of
from .location import Location
from .manifest import (
    ATTRIBUTE,
    LOCK,
    NEW_ROOT,
    UNFINISHED,
    WORK,
    Manifest,
    dataset_number,
    format_json,
    manifest_checksum,
)

if TYPE_CHECKING:
    from .attached import Reference
    from .files import CollectionFiles

_TOGETHER = 10_000
"""Files that are given to threads at a time: each takes a KB of memory until it is checked."""

_File: TypeAlias = "tuple[str, int, int, int | None]"
"""Name of a file, its size, CRC-32C and CRC-32."""


@dataclass(slots=True)
class Report(Shown):
    """Result of :meth:`annbatch.DatasetCollection.verify`.

    Attributes
    ----------
    where
        Location of the collection.
    n_obs, n_datasets, n_files
        Rows, datasets and files that were checked.
    problems
        Each problem, with the file that has it; empty if there is none.
    unchecked
        Datasets without checksums, because another program wrote them.
    """

    where: str
    n_obs: int = 0
    n_datasets: int = 0
    n_files: int = 0
    problems: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def _summary(self) -> Summary:
        checked = [("rows", f"{self.n_obs:,}"), ("datasets", f"{self.n_datasets:,}"), ("files", f"{self.n_files:,}")]
        sections = [
            Section("Problems", [(one,) for one in self.problems], opened=True),
            Section("Without checksums, as another program wrote them", [(one,) for one in self.unchecked]),
            Section("Checked", checked, opened=self.ok),
        ]
        return Summary(str(self).splitlines()[0], sections)

    def __str__(self) -> str:
        datasets = f"{self.n_datasets} dataset" + ("s" if self.n_datasets != 1 else "")
        found = "no problem found" if self.ok else f"{len(self.problems)} problems:"
        if self.ok and self.unchecked:
            found += f"; without checksums: {', '.join(self.unchecked)}"
        head = f"{self.where}: {self.n_obs:,} rows in {datasets}, {self.n_files} files, {found}"
        return "\n  ".join([head, *self.problems])


def verify(location: Location, progress: bool) -> Report:
    """Compare every byte of a collection with its checksums.

    Raises
    ------
    NotACollectionError
        If there is no collection, not even a damaged one.
    RemoteError
        If an object store refuses or does not answer: that is not damage.
    """
    report, files = Report(str(location)), location.files
    try:
        if attached := location.attached:
            return _verify_attached(attached, report, progress)
    except CorruptDataError as error:
        report.problems.append(str(error))
        return report
    try:
        written = files.read("zarr.json")
        content = parse_json(written)
        attributes = content["attributes"]
        manifest = Manifest.from_attributes(attributes)
    except (ValueError, KeyError, TypeError, AttributeError, CorruptDataError) as error:
        report.problems.append(f"zarr.json: is damaged: {type(error).__name__}: {error}")
        return report
    except RemoteError:
        raise
    except OSError as error:
        if not _datasets(files):
            raise NotACollectionError(f"{location} must be a finished collection to be verified.") from error
        report.problems.append(_unreadable("zarr.json", error))
        return report
    if manifest is None:
        ours = [name for name in _datasets(files) if _is_ours(files, name)]
        if (not ours or UNFINISHED in attributes) and not location.is_collection:
            raise NotACollectionError(f"{location} must be a finished collection to be verified.")
        if ours:
            report.problems.append(f"zarr.json: is damaged: it lacks {ATTRIBUTE!r}, which {ours[0]}/zarr.json has")
        report.unchecked = location.dataset_names()
        report.n_datasets = len(report.unchecked)
        return report
    report.n_files += 1
    # Other bytes may mean the same JSON, such as capital letters in an escape. In a folder we know what we wrote.
    as_written = location.folder is None or format_json(content) == bytes(written)
    if not as_written or manifest_checksum(content) != attributes[ATTRIBUTE].get("crc32c"):
        report.problems.append("zarr.json: its checksum does not match")
        return report
    expected: list[_File] = []
    for name, known in manifest.datasets.items():
        report.n_datasets += 1
        if "metadata_crc32c" not in known:
            report.unchecked.append(name)
            continue
        expected += _expected(files, name, known, report)
    report.problems += [f"{name}: does not belong to the collection" for name in _strays(files, location, manifest)]
    with (
        ThreadPoolExecutor(files.n_readers, thread_name_prefix="annbatch-verify") as pool,
        progress_bar(
            total=sum(one[1] for one in expected), desc="Verifying", unit="B", unit_scale=True, progress=progress
        ) as bar,
    ):
        for start in range(0, len(expected), _TOGETHER):
            some = expected[start : start + _TOGETHER]
            for one, problem in zip(some, pool.map(partial(_check, files), some), strict=True):
                bar.update(one[1])
                report.problems += [problem] if problem else []
    return report


def _verify_attached(attached: list[Reference], report: Report, progress: bool) -> Report:
    """Check that attached stores are those that were attached, and verify those among them that are collections."""
    collections: dict[str, None] = {}
    for one in attached:
        report.n_datasets += 1
        problem = problem_of(one)
        if problem is not None:
            report.problems.append(problem)
        elif dataset_number(one.group) is not None:
            collections[one.place] = None
        else:
            report.unchecked.append(str(one))
    for place in collections:
        inner = verify(Location(place, "a"), progress)
        report.n_obs += inner.n_obs
        report.n_files += inner.n_files
        report.problems += [f"{place}/{problem}" for problem in inner.problems]
        report.unchecked += [f"{place}/{name}" for name in inner.unchecked]
    return report


def _datasets(files: CollectionFiles) -> list[str]:
    try:
        return [name for name in files.entries() if dataset_number(name) is not None]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_ours(files: CollectionFiles, name: str) -> bool:
    """Return whether this package wrote the metadata of a dataset; False if they cannot be read."""
    try:
        return ATTRIBUTE in parse_json(files.read(f"{name}/zarr.json"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _strays(files: CollectionFiles, location: Location, manifest: Manifest) -> list[str]:
    """Return files and folders that do not belong to a collection, nor to a call that is running."""
    entries = files.entries()
    running = WORK in entries or LOCK in entries
    known = {"zarr.json", WORK, LOCK, *manifest.datasets}
    names = [name for name in entries if name not in known]
    return [name for name in names if not (running and (dataset_number(name) is not None or name == NEW_ROOT))]


def _unreadable(shown: str, error: OSError) -> str:
    return f"{shown}: " + (
        "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror or error}"
    )


def _expected(files: CollectionFiles, name: str, known: dict[str, Any], report: Report) -> list[_File]:
    report.n_files += 1
    try:
        metadata = files.read(f"{name}/zarr.json")
    except RemoteError:
        raise
    except OSError as error:
        report.problems.append(_unreadable(f"{name}/zarr.json", error))
        return []
    if google_crc32c.value(metadata) != known["metadata_crc32c"]:
        report.problems.append(f"{name}/zarr.json: its checksum does not match; its files cannot be checked")
        return []
    try:
        report.n_obs += int(known["n_obs"])
        own = parse_json(metadata)["attributes"][ATTRIBUTE]
        crc32 = {str(file): int(crc) for file, crc in own.get("crc32", {}).items()}  # none by an older version
        found = {str(file): (int(size), int(crc), crc32.get(file)) for file, (size, crc) in own["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        report.problems.append(f"{name}/zarr.json: is damaged: {type(error).__name__}: {error}")
        return []
    report.n_files += len(found)
    outside = [file for file in found if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts]
    report.problems += [f"{name}/zarr.json: names a file outside of the dataset: {file}" for file in outside]
    for extra in sorted(set(files.files(name)) - set(found) - {"zarr.json"}):
        report.problems.append(f"{name}/{extra}: does not belong to the collection")
    return [(f"{name}/{file}", *stated) for file, stated in found.items() if file not in outside]


def _check(files: CollectionFiles, expected: _File) -> str | None:
    name, size, crc32c, crc32 = expected
    try:
        found_size, found = files.checksum(name, size)
    except RemoteError:  # no damage of the file
        raise
    except OSError as error:
        return _unreadable(name, error)
    if found_size != size:
        return f"{name}: must have {size} bytes, has {found_size}"
    return None if found.crc32c == crc32c and crc32 in (None, found.crc32) else f"{name}: its checksum does not match"
