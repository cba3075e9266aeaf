"""Workers: processes that each measure one loader in its environment, one sample at a time, over pipes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self

from .page_memory import MemoryGroup

ROOT = Path(__file__).parents[1]
OURS = ("this_package", "limits", "conversion_stages", "in_place")  # workers that run in this environment


class WorkerError(Exception):
    """A worker failed; the message tells why."""


class Worker:
    """One worker process.

    Parameters
    ----------
    name
        File in ``workers/``, without suffix.
    python
        Interpreter of its environment.
    threads
        Cores that it may run on; None: all that this process may.
    """

    def __init__(self, name: str, python: str, threads: int | None) -> None:
        # Bytecode is kept, as pip does of what it installs: compiling this package's takes half a second.
        left_out = "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"
        environment = {key: value for key, value in os.environ.items() if key not in left_out}
        if name in OURS:
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
        cores = None if threads is None else sorted(os.sched_getaffinity(0))[:threads]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed by `stop`)
        self._numbers = itertools.count()
        self._group: MemoryGroup | None = None
        self._process = subprocess.Popen(
            [python, "-W", "ignore", str(Path(__file__).parent / "workers" / f"{name}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
            # Before anything is imported: libraries count the cores once.
            preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
        )

    def open(self, task: dict[str, Any]) -> int:
        """Open a task; return its number."""
        number = next(self._numbers)
        self._ask(do="open", id=number, task=task)
        return number

    def sample(self, number: int) -> dict[str, Any]:
        """Take one sample."""
        return self._ask(do="sample", id=number)

    def limit_memory(self, n_bytes: int) -> None:
        """Limit the memory that the process takes from now on, for pages of files and all else."""
        self._group = MemoryGroup(n_bytes)
        self._group.add(self._process.pid)

    def close(self, number: int) -> None:
        """Close a task and free its memory."""
        self._ask(do="close", id=number)

    def _ask(self, **message: Any) -> dict[str, Any]:
        ask, answers = self._process.stdin, self._process.stdout
        assert ask is not None
        assert answers is not None
        try:
            print(json.dumps(message), file=ask, flush=True)
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the worker ended: {_tail(self._log)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process by closing its standard input."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what was asked of a process that had ended is still in the pipe's buffer
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()
        if self._group is not None:
            self._group.remove()


class Workers:
    """All workers of a run, started on first use and kept.

    Parameters
    ----------
    pythons
        Interpreter of each peer's worker.
    """

    def __init__(self, pythons: dict[str, str]) -> None:
        self._pythons = dict.fromkeys(OURS, sys.executable) | pythons
        self._running: dict[tuple[str, int | None], Worker] = {}

    def get(self, name: str, threads: int | None = None) -> Worker:
        """Return a worker that is kept."""
        key = name, threads
        if key not in self._running:
            self._running[key] = self.start(name, threads)
        return self._running[key]

    def start(self, name: str, threads: int | None = None) -> Worker:
        """Start a worker for one job; the caller stops it."""
        return Worker(name, self._pythons[name], threads)

    def discard(self, name: str, threads: int | None = None) -> None:
        """Stop a worker that failed; the next task gets a fresh one."""
        worker = self._running.pop((name, threads), None)
        if worker is not None:
            worker.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._running.values():
            worker.stop()


def _tail(log: IO[str]) -> str:
    log.seek(0)
    lines = [line.strip() for line in log.read().splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
