"""Whether a collection is what it was when it was written."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import google_crc32c
from tqdm.auto import tqdm

from ...errors import NotACollectionError, RemoteError
from .manifest import _FRESH, LOCK, OWN, UNFINISHED, WORK, Manifest, dataset_number, format_json, manifest_checksum

if TYPE_CHECKING:
    from .files import CollectionFiles
    from .location import Location


@dataclass(slots=True)
class Report:
    """What :meth:`annbatch.DatasetCollection.verify` found.

    Attributes
    ----------
    where
        The collection.
    n_obs, n_datasets, n_files
        How much was looked at.
    problems
        What is wrong, and where; nothing if all is well.
    unchecked
        Datasets that another program wrote, of which nothing is known that could be compared.
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

    def __str__(self) -> str:
        datasets = f"{self.n_datasets} dataset" + ("s" if self.n_datasets != 1 else "")
        found = "no problem found" if self.ok else f"{len(self.problems)} problems:"
        if self.ok and self.unchecked:
            found += f"; without checksums: {', '.join(self.unchecked)}"
        head = f"{self.where}: {self.n_obs:,} rows in {datasets}, {self.n_files} files, {found}"
        return "\n  ".join([head, *self.problems])


def verify(home: Location, progress: bool) -> Report:
    """Compare every byte of a collection with its checksums.

    Raises
    ------
    NotACollectionError
        If nothing there says that it is a collection, or was one before it was damaged.
    RemoteError
        If an object store refuses or does not answer: that is not damage.
    """
    report, stored = Report(str(home)), home.stored
    try:
        written = stored.read("zarr.json")
        content = json.loads(written)
        attributes = content["attributes"]
        manifest = Manifest.from_attributes(attributes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report.problems.append(f"zarr.json: is damaged: {type(error).__name__}: {error}")
        return report
    except RemoteError:
        raise
    except OSError as error:
        if not _datasets(stored):
            raise NotACollectionError(f"{home} must be a finished collection to be verified.") from error
        report.problems.append(_unreadable("zarr.json", error))
        return report
    if manifest is None:
        ours = [name for name in _datasets(stored) if _is_ours(stored, name)]
        if (not ours or UNFINISHED in attributes) and not home.is_collection:
            raise NotACollectionError(f"{home} must be a finished collection to be verified.")
        if ours:
            report.problems.append(f"zarr.json: is damaged: it lacks {OWN!r}, which {ours[0]}/zarr.json has")
        report.unchecked = home.dataset_names()
        report.n_datasets = len(report.unchecked)
        return report
    report.n_files += 1
    # Some other bytes mean the same, as capital letters in an escape do. In a folder we know those that were written.
    as_written = home.folder is None or format_json(content) == bytes(written)
    if not as_written or manifest_checksum(content) != attributes[OWN].get("crc32c"):
        report.problems.append("zarr.json: its checksum does not match")
        return report
    expected: list[tuple[str, str, int, int]] = []
    for name, known in manifest.datasets.items():
        report.n_datasets += 1
        if "metadata_crc32c" not in known:
            report.unchecked.append(name)
            continue
        report.n_obs += known["n_obs"]
        expected += _expected(stored, name, home.resolve(name), known, report)
    report.problems += [f"{name}: does not belong to the collection" for name in _strays(stored, home, manifest)]
    sizes = [size for *_, size, _ in expected]
    with (
        ThreadPoolExecutor(stored.n_readers, thread_name_prefix="annbatch-verify") as pool,
        tqdm(total=sum(sizes), desc="Verifying", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        for size, problem in zip(sizes, pool.map(partial(_check, stored), expected), strict=True):
            bar.update(size)
            report.problems += [problem] if problem else []
    return report


def _datasets(stored: CollectionFiles) -> list[str]:
    try:
        return [name for name in stored.entries() if dataset_number(name) is not None]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_ours(stored: CollectionFiles, name: str) -> bool:
    """Return whether the metadata of a dataset was written by this package; if it cannot be read, perhaps not."""
    try:
        return OWN in json.loads(stored.read(f"{name}/zarr.json"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _strays(stored: CollectionFiles, home: Location, manifest: Manifest) -> list[str]:
    """Return what lies beside a collection and is not of it; what a call under way puts there is no stray."""
    entries = stored.entries()
    under_way = WORK in entries or LOCK in entries
    known = {"zarr.json", WORK, LOCK, *manifest.datasets, *(home.resolve(name) for name in manifest.datasets)}
    names = [name for name in entries if name not in known]
    return [name for name in names if not (under_way and (dataset_number(name) is not None or name == _FRESH))]


def _unreadable(shown: str, error: OSError) -> str:
    return f"{shown}: " + (
        "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    )


def _expected(
    stored: CollectionFiles, name: str, folder: str, known: dict[str, Any], report: Report
) -> list[tuple[str, str, int, int]]:
    report.n_files += 1
    try:
        metadata = stored.read(f"{folder}/zarr.json")
    except RemoteError:
        raise
    except OSError as error:
        report.problems.append(_unreadable(f"{name}/zarr.json", error))
        return []
    if google_crc32c.value(metadata) != known["metadata_crc32c"]:
        report.problems.append(f"{name}/zarr.json: its checksum does not match; its files cannot be checked")
        return []
    files = json.loads(metadata)["attributes"][OWN]["files"]
    report.n_files += len(files)
    for extra in sorted(set(stored.files(folder)) - set(files) - {"zarr.json"}):
        report.problems.append(f"{name}/{extra}: does not belong to the collection")
    return [(f"{name}/{file}", f"{folder}/{file}", size, crc) for file, (size, crc) in files.items()]


def _check(stored: CollectionFiles, expected: tuple[str, str, int, int]) -> str | None:
    shown, name, size, crc = expected
    try:
        found = stored.checksum(name, size)
    except RemoteError:  # which says nothing about the file
        raise
    except OSError as error:
        return _unreadable(shown, error)
    if found[0] != size:
        return f"{shown}: must have {size} bytes, has {found[0]}"
    return None if found[1] == crc else f"{shown}: its checksum does not match"
