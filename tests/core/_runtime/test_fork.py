"""A forked child of a process in which other threads read: no lock of theirs keeps it waiting."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import annbatch

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

SCRIPT = """
import os, signal, threading, warnings
import h5py, numpy as np, zarr
from annbatch import Loader
from annbatch._runtime import fork

warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads, which is what this is about
values = np.arange(600, dtype="f4").reshape(200, 3)
stored = zarr.create_array("a.zarr", shape=values.shape, chunks=(10, 3), dtype="f4", compressors=None)
stored[...] = values
with h5py.File("a.h5", "w") as file:
    file.create_dataset("x", data=values, compression="lzf")

def read(of):
    loader = Loader(batch_size=10, chunk_size=10, preload_nchunks=2).add_dataset(of)
    return np.array_equal(np.concatenate([batch["X"] for batch in loader]), values)

assert read(stored)  # the parent has files open, too
held = threading.Event()
def hold():
    for lock in fork._locks:
        lock.acquire()
    held.set()
    threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
if (child := os.fork()) == 0:
    signal.alarm(60)
    os._exit(0 if read(stored) and read(h5py.File("a.h5")["x"]) else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_loader_made_in_a_child_reads_while_every_lock_is_held_in_the_parent(tmp_path):
    path = os.pathsep.join([str(Path(annbatch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0


def test_every_lock_that_outlives_a_call_is_safe():
    """Locks are made by `fork_safe_lock`, but for those of one window: its threads are gone with it."""
    package = Path(annbatch.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("Lock", "RLock")
    }
    assert found == {"_runtime/fork.py", "_elements/element.py"}
