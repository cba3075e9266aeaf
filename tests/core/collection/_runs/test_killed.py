"""A killed conversion leaves the store unchanged; the same call, made again, completes it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annbatch import DatasetCollection

from ..conftest import files, make_counts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")]

Write = Callable[..., str]

# Imports and compiles everything once, and forks a process for each call: 40 kills would be 40 times 3 s of imports. A
# call counts its steps, which are its changes to names in the collection's folder, and kills itself before the one that
# was given; or it is killed after some seconds.
PROGRAM = """
import json, os, select, signal, sys
import numpy as np
from annbatch import DatasetCollection

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")

def watch(store, kill_at, steps):
    def hook(event, args):
        path = args[0] if args else None
        opened = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (opened or event in CHANGES) and isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(store):
            steps.append(f"{event} {os.fspath(path)[len(store):]}")
            if len(steps) - 1 == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def run(store, call, paths):
    rng, limit = np.random.default_rng(7), "100kB"
    if call == "reshuffle":
        DatasetCollection(store).reshuffle(rng, memory_limit=limit, progress=False)
    else:
        DatasetCollection(store).add_adatas(paths, rng=rng, dataset_size=1300, memory_limit=limit, progress=False)

def child(writer, store, call, paths, kill_at):
    steps = []
    watch(store, kill_at, steps)
    run(store, call, paths)
    with open(writer, "w") as answer:
        json.dump(steps, answer)
    os._exit(0)

warm, *paths = sys.argv[1:]
run(warm, "add", paths)
for line in sys.stdin:
    request = json.loads(line)
    after = request.pop("kill_after")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(writer, **request)
    os.close(writer)
    if not select.select([reader], [], [], after)[0]:
        os.kill(pid, signal.SIGKILL)
    with open(reader) as answer:
        steps = json.loads(answer.read() or "[]")
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), steps]), flush=True)
"""


class Calls:
    """Runs calls that change collections, each in a separate process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._requests, self._answers = process.stdin, process.stdout

    def run(
        self, store: Path, call: str, paths: list[str], *, kill_at: int = -1, kill_after: float | None = None
    ) -> tuple[int, list[str]]:
        """Run a call, and kill it before a step, or after some seconds; return its exit status and its steps."""
        assert self._requests is not None
        assert self._answers is not None
        request = {"store": str(store), "call": call, "paths": paths, "kill_at": kill_at, "kill_after": kill_after}
        print(json.dumps(request), file=self._requests, flush=True)
        status, steps = json.loads(self._answers.readline())
        return status, steps


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    folder = tmp_path_factory.mktemp("warm")
    make_counts(0, 400).write_h5ad(folder / "0.h5ad")
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(folder / "c.zarr"), str(folder / "0.h5ad")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Calls(process)


@pytest.fixture
def make(tmp_path: Path, write: Write) -> tuple[Callable[[str, str], Path], list[str]]:
    """Return a function that makes a collection for a call, and the files that the call adds to it."""
    paths = [write(make_counts(i, n), f"{i}.h5ad") for i, n in enumerate([400, 1500, 500])]
    first = tmp_path / "first.zarr"
    DatasetCollection(first).add_adatas(paths[:1], rng=np.random.default_rng(0), dataset_size=250, progress=False)

    def make_one(name: str, call: str) -> Path:
        store = tmp_path / name
        if call != "first" and not store.exists():
            shutil.copytree(first, store)
        return store

    return make_one, paths[1:]


@pytest.mark.parametrize(("call", "n_steps", "n_times"), [("add", 12, 5), ("first", 2, 1), ("reshuffle", 2, 1)])
def test_killed_at_any_moment(
    make: tuple[Callable[[str, str], Path], list[str]], calls: Calls, call: str, n_steps: int, n_times: int
) -> None:
    make_one, paths = make
    before = set(DatasetCollection(make_one("before.zarr", call)).obs([]).index)
    for name in ("calm.zarr", "again.zarr"):  # the first one may wait for what is to be imported
        began = time.perf_counter()
        status, steps = calls.run(make_one(name, call), call, paths)
        took = time.perf_counter() - began
        assert status == 0
    calm = files(make_one("calm.zarr", call))
    assert files(make_one("again.zarr", call)) == calm

    # All that happens from the time on when the collection begins to change, and some of what is before; the note of
    # the call is removed last, and with it the call has come to its end.
    changing = steps.index("os.rename /.annbatch-work/ready-0")
    end = max(i for i, step in enumerate(steps) if step == "os.remove /.annbatch-work/call.json")
    rng = np.random.default_rng(0)
    moments: list[dict[str, Any]] = [{"kill_at": int(i)} for i in rng.choice(changing, n_steps, replace=False)]
    moments += [
        {"kill_at": i} for i in range(changing, end + 1) if steps[i].startswith("os.re") and steps[i].count("/") < 3
    ]
    moments += [{"kill_after": took * share} for share in rng.uniform(0, 0.9, n_times)]
    n_killed = 0
    for number, moment in enumerate(moments):
        store = make_one(f"{number}.zarr", call)
        status, _ = calls.run(store, call, paths, **moment)
        n_killed += status == -signal.SIGKILL
        there = DatasetCollection(store)
        assert there.is_empty or there.verify().ok
        assert before <= set(there.obs([]).index)
        if files(store) != calm:
            status, _ = calls.run(store, call, paths)
            assert status == 0
        assert files(store) == calm
        shutil.rmtree(store)
    assert n_killed >= len(moments) - n_times  # one that is killed after some seconds may be faster than that
    assert call != "add" or len(moments) >= 20


def test_another_call_cleans_up_after_a_killed_one(
    make: tuple[Callable[[str, str], Path], list[str]], calls: Calls
) -> None:
    make_one, paths = make
    calm, store = make_one("calm.zarr", "add"), make_one("c.zarr", "add")
    calls.run(calm, "reshuffle", [])
    _, published = calls.run(make_one("other.zarr", "add"), "add", paths)
    status, _ = calls.run(store, "add", paths, kill_at=published.index("os.rename /.annbatch-work/ready-1"))
    assert status == -signal.SIGKILL
    assert (store / "dataset_2").exists()
    status, _ = calls.run(store, "reshuffle", [])
    assert status == 0
    assert files(store) == files(calm)


def test_the_same_call_after_its_end_adds_no_row(
    make: tuple[Callable[[str, str], Path], list[str]], calls: Calls
) -> None:
    make_one, paths = make
    store = make_one("c.zarr", "first")
    assert calls.run(store, "first", paths)[0] == 0
    once = files(store)
    assert calls.run(store, "first", paths)[0] == 1  # an error: its inputs are in the collection already
    assert files(store) == once
