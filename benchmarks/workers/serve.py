"""The worker's side: answers each JSON line with a JSON line.

A worker is one process in the environment of one loader. It opens tasks, and takes one sample at a time, so that
loaders of different environments take turns on the machine, and no sample counts imports or compilation.

``{"do": "open", "id": 1, "task": {...}}``, ``{"do": "sample", "id": 1}`` and ``{"do": "close", "id": 1}``. Answers hold
``amount``, ``seconds``, ``cpu_seconds`` (of all threads), ``peak_bytes`` (peak memory of the process), ``added_bytes``
(growth of that peak), ``disk_bytes`` (read from disks, where the system counts them), and what the sample itself
counted; or ``error``.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path


def serve(open_task):
    """Answer until standard input ends.

    Parameters
    ----------
    open_task
        Takes a task (a dict); returns a function without arguments that takes one sample and returns the number of
        rows, bytes or values in it, or a dict with this number as ``amount``.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # other output must not end up between the answers
    samples = {}
    gc.collect()
    gc.freeze()  # imports stay: a collection then takes 1 ms, not 100
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = _answer(message, samples, open_task)
        except Exception as error:  # a loader that fails is a result too
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(message, samples, open_task):
    number = message["id"]
    if message["do"] == "open":
        samples[number] = open_task(message["task"])
        return {}
    if message["do"] == "close":
        samples.pop(number, None)
        gc.collect()
        return {}
    held, on_disk = _peak_bytes(), _disk_bytes()
    cpu, begin = time.process_time(), time.perf_counter()
    amount = samples[number]()
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    peak = _peak_bytes()
    counted = amount if isinstance(amount, dict) else {"amount": amount}
    if on_disk is not None:
        counted["disk_bytes"] = _disk_bytes() - on_disk
    return {
        **counted,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_bytes": peak,
        "added_bytes": peak - held,
    }


def _peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():  # `ru_maxrss` there includes the memory of the parent process
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _disk_bytes():
    counters = Path("/proc/self/io")
    return int(counters.read_text().split("\nread_bytes: ")[1].split()[0]) if counters.exists() else None
