"""Watches processes that run mutations: they may crash or hang."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where victims lie: they are written for each mutation."""

_ROOT = Path(__file__).parents[2]
_HANG = 10.0
"""Seconds after which a mutation is tried in a new process, where it counts as hanging after three times as many."""

_PER_PROCESS = 3000
"""Mutations per process: what they leave behind is not counted against later ones."""

FAILURES = ("WRONG", "FOREIGN", "UNNAMED", "MEMORY", "CRASH", "HANG")
"""Outcomes that must not be."""


@dataclass
class Result:
    """What came of all mutations."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    unchecked: Counter[str] = field(default_factory=Counter)

    def add(self, one: dict[str, Any]) -> None:
        """Count one outcome."""
        self.outcomes[one["outcome"]] += 1
        if one["outcome"] in FAILURES:
            self.failures.append(one)
        if one["outcome"] == "wrong without checksum":
            self.unchecked[one["victim"]] += 1

    def __str__(self) -> str:
        lines = [f"{sum(self.outcomes.values())} mutations: {dict(sorted(self.outcomes.items()))}"]
        lines.append(f"wrong without checksum, by victim: {dict(sorted(self.unchecked.items()))}")
        return "\n".join([*lines, *(json.dumps(one) for one in self.failures)])


class _Process:
    """A worker, and what it answers."""

    def __init__(self, folder: Path, seed: int, show: bool) -> None:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(folder), str(seed), "show" if show else ""]
        environment = os.environ | {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "2"}
        self._errors = open(folder / "errors.txt", "w+b")  # noqa: SIM115  # closed in `close`
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, cwd=_ROOT, env=environment
        )
        self._pending = b""
        if self.answer(300.0) != {"ready": True}:
            raise RuntimeError(f"The worker did not start: {self.said()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        self._errors.close()

    def kill(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def said(self) -> str:
        """Return what the process wrote to standard error last; where it is, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        self._errors.seek(0)
        return self._errors.read()[-12000:].decode(errors="replace")

    def send(self, first: int, last: int) -> None:
        """Queue a range of mutations."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {last}\n".encode())
        self._process.stdin.flush()

    def answer(self, timeout: float) -> dict[str, Any] | None:
        """Return the next answer; None if the process ended, or did not answer in time."""
        assert self._process.stdout is not None
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            data = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def status(self) -> int | None:
        """Return the exit status; None if the process runs."""
        try:
            return self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return None


def fuzz(folder: Path, numbers: range, seed: int, *, jobs: int = 1, show: bool = False, report: Any = None) -> Result:
    """Run mutations in a few processes; one that crashes or hangs is replaced by a new one."""
    result = Result()
    parts = [numbers[len(numbers) * i // jobs : len(numbers) * (i + 1) // jobs] for i in range(jobs)]
    with ThreadPoolExecutor(jobs) as threads:
        runs = [
            threads.submit(_fuzz, folder / str(i), part, seed, result, show, report) for i, part in enumerate(parts)
        ]
        for run in runs:
            run.result()
    return result


def _fuzz(folder: Path, numbers: range, seed: int, result: Result, show: bool, report: Any) -> None:
    folder.mkdir()
    first = numbers.start
    while first < numbers.stop:
        last = min(first + _PER_PROCESS, numbers.stop)
        with _Process(folder, seed, show) as process:
            process.send(first, last)
            while first < last:
                if process.answer(_HANG) is None or (found := process.answer(_HANG)) is None:
                    status, said = process.status(), process.said()
                    process.kill()
                    found = _again(folder, first, seed, status, said)
                    last = first + 1
                result.add(found)
                if report is not None:
                    report(found, result)
                first += 1


def _again(folder: Path, number: int, seed: int, status: int | None, said: str) -> dict[str, Any]:
    """Run a mutation that crashed or hung once more: on a busy machine, or where code is compiled, it may not."""
    with _Process(folder, seed, show=False) as process:
        process.send(number, number + 1)
        process.answer(_HANG)
        found = process.answer(3 * _HANG)
        if found is not None and status is None:
            return found | {"at first": f"no answer: {said}"}
        outcome = "hang" if status is None and process.status() is None else "crash"
        stack = process.said()
        main = stack[stack.rfind("Current thread") :]
        in_hdf5 = re.match(r"Current thread .*\n  File \".*/h5py/", main)  # its C library reads files by itself
        outcome = f"{outcome} of HDF5" if in_hdf5 else outcome.upper()
        return {"n": number, "victim": "", "outcome": outcome, "detail": f"status {status}: {said} {stack}"}
