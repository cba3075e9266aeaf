"""Whether a collection is what it was when it was written."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ..errors import NotACollectionError
from ._hands import n_threads
from ._manifest import _FRESH, OWN, WORK, Manifest, dataset_number, manifest_checksum
from ._work import checksum

if TYPE_CHECKING:
    from ._manifest import Home


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


def verify(home: Home, progress: bool) -> Report:
    """Compare every byte of a collection with its checksums.

    Raises
    ------
    NotACollectionError
        If nothing there says that it is a collection, or was one before it was damaged.
    """
    report = Report(str(home))
    if home.folder is None:  # no checksums are kept there
        if not home.is_collection:
            raise NotACollectionError(f"{home} must be a finished collection to be verified.")
        report.unchecked = home.dataset_names()
        report.n_datasets = len(report.unchecked)
        return report
    try:
        content = json.loads((home.folder / "zarr.json").read_bytes())
        attributes = content["attributes"]
        manifest = Manifest.from_attributes(attributes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report.problems.append(f"zarr.json: is damaged: {type(error).__name__}: {error}")
        return report
    except OSError as error:
        if not any(home.folder.glob("dataset_*")):
            raise NotACollectionError(f"{home} must be a finished collection to be verified.") from error
        report.problems.append(_unreadable("zarr.json", error))
        return report
    if manifest is None:
        ours = [path.parent.name for path in sorted(home.folder.glob("dataset_*/zarr.json")) if _is_ours(path)]
        if not ours and not home.is_collection:
            raise NotACollectionError(f"{home} must be a finished collection to be verified.")
        if ours:
            report.problems.append(f"zarr.json: is damaged: it lacks {OWN!r}, which {ours[0]}/zarr.json has")
        report.unchecked = home.dataset_names()
        report.n_datasets = len(report.unchecked)
        return report
    report.n_files += 1
    if manifest_checksum(content) != attributes[OWN].get("crc32c"):
        report.problems.append("zarr.json: its checksum does not match")
        return report
    expected: list[tuple[str, Path, tuple[int, int]]] = []
    for name, known in manifest.datasets.items():
        report.n_datasets += 1
        if "metadata_crc32c" not in known:
            report.unchecked.append(name)
            continue
        report.n_obs += known["n_obs"]
        folder = home.folder / home.resolve(name)
        expected += _expected(name, folder, known, report)
    report.problems += [f"{name}: does not belong to the collection" for name in _strays(home.folder, home, manifest)]
    sizes = [size for _, _, (size, _) in expected]
    with (
        ThreadPoolExecutor(n_threads(), thread_name_prefix="annbatch-verify") as pool,
        tqdm(total=sum(sizes), desc="Verifying", unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        for size, problem in zip(sizes, pool.map(_check, expected), strict=True):
            bar.update(size)
            report.problems += [problem] if problem else []
    return report


def _is_ours(path: Path) -> bool:
    """Return whether the metadata of a dataset was written by this package; if it cannot be read, perhaps not."""
    try:
        return OWN in json.loads(path.read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _strays(folder: Path, home: Home, manifest: Manifest) -> list[str]:
    """Return what lies in a collection's folder and is not of it; what a call under way puts there is no stray."""
    under_way = (folder / WORK).exists()
    known = {"zarr.json", WORK, *manifest.datasets, *(home.resolve(name) for name in manifest.datasets)}
    names = sorted(entry.name for entry in os.scandir(folder) if entry.name not in known)
    return [name for name in names if not (under_way and (dataset_number(name) is not None or name == _FRESH))]


def _unreadable(shown: str, error: OSError) -> str:
    return f"{shown}: " + (
        "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    )


def _expected(
    name: str, folder: Path, known: dict[str, Any], report: Report
) -> list[tuple[str, Path, tuple[int, int]]]:
    root = folder / "zarr.json"
    report.n_files += 1
    try:
        found = checksum(root)[1]
    except OSError as error:
        report.problems.append(_unreadable(f"{name}/zarr.json", error))
        return []
    if found != known["metadata_crc32c"]:
        report.problems.append(f"{name}/zarr.json: its checksum does not match; its files cannot be checked")
        return []
    files = json.loads(root.read_bytes())["attributes"][OWN]["files"]
    report.n_files += len(files)
    there = {Path(base, file).relative_to(folder).as_posix() for base, _, names in os.walk(folder) for file in names}
    for extra in sorted(there - set(files) - {"zarr.json"}):
        report.problems.append(f"{name}/{extra}: does not belong to the collection")
    return [(f"{name}/{file}", folder / file, (size, crc)) for file, (size, crc) in files.items()]


def _check(expected: tuple[str, Path, tuple[int, int]]) -> str | None:
    shown, path, (size, crc) = expected
    try:
        found = checksum(path)
    except OSError as error:
        return _unreadable(shown, error)
    if found[0] != size:
        return f"{shown}: must have {size} bytes, has {found[0]}"
    return None if found[1] == crc else f"{shown}: its checksum does not match"
