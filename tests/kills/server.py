"""A process that imports and compiles everything once, and forks a process per call, which then starts at once."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .scenes import SCENES

_HANG = 120.0
"""Seconds after which a process counts as hanging."""


def _child(answer: int, scene: str, at: Path, inputs: Path) -> None:
    said, status = "", 0
    try:
        SCENES[scene].call(at, inputs)
    except BaseException as error:  # the process ends here, and KeyboardInterrupt is asked for
        said, status = f"{type(error).__name__}: {error}", 1
    os.write(answer, json.dumps([status, said]).encode())
    os._exit(status)


def _run(scene: str, at: str, inputs: str, kill_after: float | None, sent: int) -> list[Any]:
    """Run a call; return its exit status, or the signal that ended it, negative, what it said, and its seconds."""
    reader, writer = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _child(writer, scene, Path(at), Path(inputs))
    os.close(writer)
    if not select.select([reader], [], [], kill_after)[0]:
        os.kill(pid, sent)
    if not select.select([reader], [], [], _HANG)[0]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        return ["hang", "", _HANG]
    with open(reader) as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [status, json.loads(said)[1] if said else "", time.perf_counter() - began]


def main() -> None:
    """Answer requests, one per line."""
    inputs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as warm:
        for name in ("spill", "h5ad", "write_sharded"):
            (Path(warm) / name).mkdir()
            SCENES[name].before(Path(warm) / name, inputs)
            SCENES[name].call(Path(warm) / name, inputs)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
