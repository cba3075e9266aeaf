from __future__ import annotations

import sys
from pathlib import Path

import pytest

from annbatch._runtime import memory
from annbatch._runtime.memory import available_memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say it")
def test_less_is_available_than_the_machine_has() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) << 10
    found = available_memory()
    assert found is not None
    assert 0 < found < total


@pytest.mark.parametrize(
    ("line", "folder", "files", "expected"),
    [
        ("0::/job", "job", {"memory.max": "1000", "memory.current": "600"}, 500),
        ("0::/job", "", {"memory.max": "1000", "memory.current": "600"}, 500),
        ("0::/job", "job", {"memory.max": "max", "memory.current": "600"}, 1 << 20),
        ("4:memory:/job", "memory/job", {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "2000"}, 0),
        ("4:cpu,memory:/job", "memory", {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "600"}, 500),
        ("4:cpu:/job", "memory", {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "600"}, 1 << 20),
        ("damaged", "memory", {}, 1 << 20),
    ],
)
def test_the_narrowest_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, files: dict[str, str], expected: int
) -> None:
    """Files as both versions of control groups have them; pages of files make room, as far as they are not in use."""
    for name, path, text in (("_MEMINFO", "meminfo", "MemAvailable: 1024 kB"), ("_GROUPS", "cgroup", line)):
        (tmp_path / path).write_text(text)
        monkeypatch.setattr(memory, name, tmp_path / path)
    monkeypatch.setattr(memory, "_MOUNT", tmp_path / "groups")
    group = tmp_path / "groups" / folder
    group.mkdir(parents=True)
    (group / "memory.stat").write_text("inactive_file 60\nactive_file 40\ntotal_inactive_file 100\nanon 500")
    for name, text in files.items():
        (group / name).write_text(text)
    assert available_memory() == expected


def test_nothing_is_known_without_the_files_of_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MEMINFO", "_GROUPS", "_MOUNT"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    assert available_memory() is None
