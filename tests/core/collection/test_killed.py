"""A conversion that is killed leaves the store as it was; the same call again makes it what it would have been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from annbatch import DatasetCollection

from .conftest import make_cells

Write = Callable[..., str]

PROGRAM = """
import os, sys
import numpy as np
from annbatch import DatasetCollection

home, limit, call, *paths = sys.argv[1:]
collection = DatasetCollection(home)
collection.is_empty  # everything is imported
print("ready", flush=True)
rng = np.random.default_rng(7)
if call == "add":
    collection.add_adatas(paths, rng=rng, dataset_size=60, memory_limit=limit, progress=False)
else:
    collection.reshuffle(rng, memory_limit=limit, progress=False)
print("done", flush=True)
os._exit(0)
"""


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def running(home: Path, limit: str, call: str, paths: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(home), limit, call, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        yield program


@pytest.fixture
def make(tmp_path: Path, write: Write) -> tuple[Callable[[str], Path], list[str]]:
    """Return what makes a collection of two datasets, and what is to be added to it."""
    paths = [write(make_cells(i, n), f"{i}.h5ad") for i, n in enumerate([100, 90, 110])]

    def make_one(name: str) -> Path:
        DatasetCollection(tmp_path / name).add_adatas(
            paths[:1], rng=np.random.default_rng(0), dataset_size=60, progress=False
        )
        return tmp_path / name

    return make_one, paths[1:]


@pytest.mark.parametrize("call", ["add", "reshuffle"])
def test_killed_at_any_moment(make: tuple[Callable[[str], Path], list[str]], call: str) -> None:
    make_one, paths = make
    calm, home = make_one("calm.zarr"), make_one("stormy.zarr")
    before = DatasetCollection(home).obs()
    with running(calm, "1MB", call, paths) as program:
        began = time.perf_counter()
        assert program.wait() == 0
        took = time.perf_counter() - began

    n_killed = 0
    for share in (0.3, 0.6, 0.9, None):  # of the time that is left: the work goes on from where it was
        with running(home, "1MB", call, paths) as program:
            try:
                program.wait(timeout=None if share is None else took * share)
            except subprocess.TimeoutExpired:
                os.kill(program.pid, signal.SIGKILL)
                n_killed += 1
        if program.returncode == 0:
            break
        collection = DatasetCollection(home, mode="r")
        assert collection.verify().ok
        assert set(before.index) <= set(collection.obs().index)
    assert n_killed
    assert program.returncode == 0
    assert files(home) == files(calm)


def test_a_half_made_first_collection_is_none(tmp_path: Path, write: Write) -> None:
    path = write(make_cells(0, 500), "0.h5ad")
    home = tmp_path / "c.zarr"
    with running(home, "1MB", "add", [path]) as program:
        while not (home / ".annbatch-work" / "call.json").exists():
            assert program.poll() is None
            time.sleep(0.001)
        os.kill(program.pid, signal.SIGKILL)
    assert DatasetCollection(home).is_empty
    with running(home, "1MB", "add", [path]) as program:
        assert program.wait() == 0
    assert DatasetCollection(home, mode="r").n_obs == 500
    assert not (home / ".annbatch-work").exists()
