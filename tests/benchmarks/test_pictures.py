"""The documentation's pictures: scripts draw them, and those that are drawn from no measurement are as committed."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ALL = ["pipeline", "mixing", "entropy", "ranks", "throughput", "overlap", "memory"]
MEASURED = ["entropy", "overlap", "memory"]


@pytest.fixture(scope="module")
def drawn(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw all pictures on little data, by the command that the documentation names."""
    if sys.platform != "linux":
        pytest.skip("the memory of a process is read from /proc, which Linux has")
    out = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, "-m", "docs.pictures", "--small", "--out", str(out)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_picture_is_drawn_and_has_a_description(drawn):
    assert sorted(path.stem for path in drawn.iterdir()) == sorted(ALL)
    for path in drawn.iterdir():
        root = ElementTree.fromstring(path.read_text())
        assert root.get("aria-label", "").endswith("."), path
        assert len(root) > 10


@pytest.mark.parametrize("name", ALL)
def test_nothing_lies_outside_of_a_picture(repository, name):
    root = ElementTree.parse(repository / "docs" / "pictures" / f"{name}.svg").getroot()
    width, height = map(float, root.attrib["viewBox"].split()[2:])
    for shape in root.iter():
        at = shape.attrib
        for place, size, most in (("x", "width", width), ("y", "height", height)):
            if place in at:
                assert float(at[place]) >= 0, at
                assert float(at[place]) + float(at.get(size, 0)) <= most + 0.5, at


@pytest.mark.parametrize("name", [name for name in ALL if name not in MEASURED])
def test_a_picture_shows_what_the_code_does_now(repository, monkeypatch, name):
    monkeypatch.syspath_prepend(str(repository))
    drawn = importlib.import_module(f"docs.pictures.{name}").draw()
    committed = (repository / "docs" / "pictures" / f"{name}.svg").read_text()
    assert drawn == committed, f"`python -m docs.pictures {name}` draws it again"


def test_each_picture_is_on_a_page(repository):
    pages = "".join(page.read_text() for page in (repository / "docs").glob("*.md"))
    assert set(re.findall(r":file: pictures/(\w+)\.svg", pages)) == set(ALL)
