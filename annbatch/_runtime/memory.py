"""Memory that is free on this machine, or within the limits of its control groups."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MEMINFO, _GROUPS, _MOUNT = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class _Version:
    """Names of one version of control groups: of its folder, and of what its files and counts are called."""

    folder: str
    limit: str
    usage: str
    pages: tuple[str, str]


_VERSIONS = (
    _Version("", "memory.max", "memory.current", ("inactive_file", "active_file")),
    _Version("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


def available_memory() -> int | None:
    """Return the bytes that this process may still take, pages of files that would make room included.

    None where the operating system does not say it in the ways of Linux.
    """
    known = [n_bytes for n_bytes in (_machine(), *_groups()) if n_bytes is not None]
    return min(known) if known else None


def _machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return None


def _groups() -> list[int | None]:
    """Return what is free in each control group of this process, from the innermost out."""
    found = []
    with suppress(OSError, ValueError):
        for line in _GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for version in _VERSIONS:
                if version.folder in controllers.split(","):
                    root = _MOUNT / version.folder
                    inner = root / path.strip("/")
                    found += [_group(one, version) for one in (inner, *inner.parents) if one.is_relative_to(root)]
    return found


def _group(folder: Path, version: _Version) -> int | None:
    with suppress(OSError, ValueError):
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        used = int((folder / version.usage).read_text()) - sum(int(counts.get(name, 0)) for name in version.pages)
        return max(0, int((folder / version.limit).read_text()) - used)  # "max" is no number
    return None
