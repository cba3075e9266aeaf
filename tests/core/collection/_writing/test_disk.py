"""Disks that fill up during a call: a clear error, the collection as it was, and the same call resumes."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.errors import StoreError

from ..conftest import files, make_counts

Write = Callable[..., str]

# The kernel refuses to let files grow beyond a limit: a write that fails in earnest, in a process of its own.
PROGRAM = """
import json, resource, signal, sys
import numpy as np
from annbatch import DatasetCollection
from annbatch.errors import StoreError

path, *stores = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for store in stores:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(store.rpartition("-")[2]), resource.RLIM_INFINITY))
    try:
        DatasetCollection(store).add_adatas(
            [path], rng=np.random.default_rng(0), memory_limit="100kB", dataset_size=4000, progress=False
        )
    except StoreError as error:
        print(json.dumps([error.errno, str(error)]))
"""


@pytest.fixture
def paths(write: Write) -> list[str]:
    return [write(make_counts(i, n), f"{i}.h5ad") for i, n in enumerate([300, 6000])]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of file sizes is Linux's")
def test_a_file_that_cannot_grow(tmp_path: Path, paths: list[str]) -> None:
    stores, calm = [tmp_path / f"c-{limit}" for limit in (100_000, 50_000)], tmp_path / "calm"
    for one in (*stores, calm):
        DatasetCollection(one).add_adatas(paths[:1], rng=np.random.default_rng(1), progress=False)
    before = files(calm)

    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, paths[1], *map(str, stores)]
    answers = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    for store, (number, text) in zip(stores, map(json.loads, answers), strict=True):
        assert number == errno.EFBIG
        assert f"{store} cannot be written: " in text
        assert "the same call resumes" in text
        there = DatasetCollection(store, mode="r")
        assert {name: content for name, content in files(store).items() if name in before} == before
        assert there.verify().ok
        assert there.n_obs == 300

    for one in (*stores, calm):
        DatasetCollection(one).add_adatas(
            paths[1:], rng=np.random.default_rng(0), memory_limit="100kB", dataset_size=4000, progress=False
        )
    assert [files(store) == files(calm) for store in stores] == [True, True]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 1 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root")
    except FileNotFoundError:
        pytest.skip("mounting a small file system needs the command `mount`")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # an error may hold a file open


@pytest.mark.parametrize(("full_at", "message"), [(0, "of free disk space, got"), (1, "cannot be written: ")])
def test_a_disk_that_is_full(small_disk: Path, paths: list[str], full_at: int, message: str) -> None:
    store = small_disk / "c.zarr"
    DatasetCollection(store).add_adatas(paths[:1], progress=False)
    before = files(store)
    n_loads = 0

    def load(path: str) -> ad.AnnData:
        nonlocal n_loads
        if n_loads == full_at:  # the first time is before the disk is looked at, the second one after it
            free = shutil.disk_usage(small_disk).free
            (small_disk / "other").write_bytes(bytes(free - 60_000))
        n_loads += 1
        return ad.read_h5ad(path)

    with pytest.raises(StoreError, match=message) as caught:
        DatasetCollection(store).add_adatas(paths[1:], load_adata=load, progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert str(store) in str(caught.value)
    assert {name: content for name, content in files(store).items() if name in before} == before
    assert DatasetCollection(store, mode="r").verify().ok
    (small_disk / "other").unlink()
    DatasetCollection(store).add_adatas(paths[1:], progress=False)
    assert DatasetCollection(store).n_obs == 6300
