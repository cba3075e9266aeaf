"""What a loader does where its process ends, forks or starts another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ZstdCodec

from annbatch import Loader


def run(script: str, folder: Path, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter that has this one's import path."""
    path = folder / "script.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=timeout, cwd=folder
    )


PROLOGUE = """
import json, os, sys, threading, warnings
import numpy as np, zarr
from annbatch import Loader
def make(**more):
    return Loader(batch_size=10, chunk_size=5, preload_nchunks=4, shuffle=True, seed=1, return_index=True, **more)
array = zarr.open_array("array.zarr", mode="r")
"""


ENDS = {
    "at module level": "batches = iter(make().add_dataset(array)); next(batches)",
    "in a cycle": "cell = [iter(make().add_dataset(array))]; next(cell[0]); cell.append(cell); del cell",
    "unclosed, without reading ahead": "batches = iter(make(prefetch=0).add_dataset(array)); next(batches)",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    array = zarr.create_array(tmp_path / "array.zarr", shape=(203, 3), chunks=(7, 3), dtype="f4")
    array[...] = np.arange(609).reshape(203, 3)
    # Compressed twice, which kernels leave to zarr.
    zarr.create_array(tmp_path / "twice.zarr", data=array[...], chunks=(7, 3), compressors=[GzipCodec(), ZstdCodec()])
    return tmp_path


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_the_interpreter_ends_quietly_with_an_iterator_open(end, folder):
    done = run(PROLOGUE + end, folder)
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_thread_that_iterates_does_not_hold_the_end_up(folder):
    script = """
import time
loader = make().add_dataset(array)
def work():
    while True:
        for _ in loader: pass
threading.Thread(target=work, daemon=True).start()
while loader.epoch < 2: time.sleep(0.01)
"""
    # What it says is that thread's own error: executors take no work any more.
    assert run(PROLOGUE + script, folder).returncode == 0


def test_a_fork_raises_a_clear_error_or_works(folder):
    script = """
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads, which is what this is about
def child(work):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    said = json.loads(os.fdopen(read).read())
    os.waitpid(pid, 0)
    return said
order = lambda loader: [row for batch in loader for row in batch["index"].tolist()]
data = np.arange(609.0).reshape(203, 3)
loader = make().add_dataset(data)
said = {"before": child(lambda: sorted(order(loader)) == list(range(203)))}
batches = iter(loader)
next(batches)
said["iterated"] = child(lambda: order(loader))
said["continued"] = child(lambda: [batch["index"].tolist() for batch in batches])
said["the parent goes on"] = len(list(batches))
loader.close()
said["closed"] = child(lambda: sorted(order(loader)) == list(range(203)))
stored = make().add_dataset(array)
said["stored"] = child(lambda: sorted(order(stored)) == list(range(203)))
twice = zarr.open_array("twice.zarr", mode="r")
order(make().add_dataset(twice))
said["zarr used before"] = child(lambda: sorted(order(make().add_dataset(twice))) == list(range(203)))
print(json.dumps(said))
"""
    done = run(PROLOGUE + script, folder)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["before"] is True
    assert said["closed"] is True
    assert said["stored"] is True
    assert said["the parent goes on"] == 20
    for name in ("iterated", "continued"):
        assert said[name].startswith("RuntimeError: The loader was iterated in process")
        assert "start processes with 'spawn'" in said[name]
    assert said["zarr used before"] is True


def test_a_loader_goes_to_a_spawned_process(folder):
    script = """
import multiprocessing
def order(loader):
    return [row for batch in loader for row in batch["index"].tolist()]
if __name__ == "__main__":
    loader = make().add_dataset(array)
    next(iter(loader))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(json.dumps([pool.apply(order, (loader,)), order(loader)]))
"""
    done = run(PROLOGUE + script, folder)
    assert done.returncode == 0, done.stderr
    there, here = json.loads(done.stdout)
    assert there == here
    assert sorted(here) == list(range(203))


def test_nobody_elses_configuration_changes(folder):
    before = json.dumps(zarr.config.config, default=str, sort_keys=True)
    with Loader(batch_size=1, chunk_size=4).add_dataset(zarr.open_array(folder / "array.zarr")) as loader:
        assert len(list(loader)) == 203
        assert json.dumps(zarr.config.config, default=str, sort_keys=True) == before
    assert json.dumps(zarr.config.config, default=str, sort_keys=True) == before
