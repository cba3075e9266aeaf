"""Take the samples of a case, contenders in turn, and summarise them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .cases import Case, Contender
from .processes import WorkerError, Workers

SLOW_SECONDS, ROUNDS_OF_SLOW = 2.0, 3


@dataclass(slots=True)
class _Opened:
    contender: Contender
    number: int = -1
    rounds: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def measure(case: Case, workers: Workers, *, rounds: int, seconds: float, forget: Callable[[], None]) -> dict[str, Any]:
    """Measure a case.

    A sample that does not count warms each contender up: it compiles kernels, and shows how many rows take ``seconds``.
    Then come the rounds: one sample per contender, in turn, so that other load on the machine affects all of them.

    Parameters
    ----------
    case
        Contenders to measure.
    workers
        Processes that measure.
    rounds
        Samples per contender; at most 3 if a sample takes more than 2 s.
    seconds
        Length of a sample to aim at, as far as the contender's rows allow.
    forget
        Drops the page cache, where that is permitted; else does nothing.

    Returns
    -------
    dict
        JSON-able: ``section``, ``case``, ``baseline`` and ``contenders``; each contender has its samples, medians,
        ``of_limit`` and ``ratio``: medians over rounds of its rate over the limit's, and over the baseline's. A
        contender that failed has ``error`` instead.
    """

    def before(contender: Contender) -> None:
        if case.cold:
            forget()
            drop_from_cache(_paths(contender))
        if contender.cached:
            read_into_cache(_paths(contender))

    opened = [_Opened(contender) for contender in case.contenders]
    for one in opened:
        if one.contender.page_memory is not None:  # what it freed before, it would take again, within the limit
            workers.discard(one.contender.worker, one.contender.threads)
        _attempt(one, workers, lambda one=one: _open(one, workers, rounds, seconds, before))
        if one.error is None and one.contender.page_memory is not None:
            drop_from_cache(_paths(one.contender))
            _worker(one, workers).limit_memory(one.contender.page_memory)
    for number in range(rounds):
        for one in opened:
            if one.error is None and number < one.rounds:
                before(one.contender)
                _attempt(one, workers, lambda one=one: one.samples.append(_sample(one, workers)))
    for one in opened:
        if one.error is None:
            _attempt(one, workers, lambda one=one: _worker(one, workers).close(one.number))
        if one.contender.page_memory is not None:
            workers.discard(one.contender.worker, one.contender.threads)
    return _summary(case, opened)


def _open(one: _Opened, workers: Workers, rounds: int, seconds: float, before: Callable[[Contender], None]) -> None:
    contender, worker = one.contender, _worker(one, workers)
    rows = contender.least
    one.number = worker.open({**contender.task, "rows": rows})
    warm = worker.sample(one.number)
    if warm["seconds"] < SLOW_SECONDS:
        before(contender)
        warm = worker.sample(one.number)
    one.rounds = rounds if warm["seconds"] < SLOW_SECONDS else min(rounds, ROUNDS_OF_SLOW)
    if contender.least:
        affordable = int(warm["amount"] / warm["seconds"] * seconds)
        rows = max(contender.least, min(affordable, contender.most) // contender.least * contender.least)
    if rows != contender.least:
        worker.close(one.number)
        one.number = worker.open({**contender.task, "rows": rows})
        worker.sample(one.number)  # the first touch of its buffers


def _sample(one: _Opened, workers: Workers) -> dict[str, Any]:
    return _worker(one, workers).sample(one.number)


def _worker(one: _Opened, workers: Workers) -> Any:
    return workers.get(one.contender.worker, one.contender.threads)


def _attempt(one: _Opened, workers: Workers, action: Callable[[], Any]) -> None:
    try:
        action()
    except WorkerError as error:
        one.error = str(error)


def _summary(case: Case, opened: list[_Opened]) -> dict[str, Any]:
    by_name = {one.contender.name: one for one in opened}
    results = []
    for one in opened:
        result: dict[str, Any] = {"name": one.contender.name, "unit": one.contender.unit, "limit": one.contender.limit}
        if one.error is not None or not one.samples:
            results.append({**result, "error": one.error or "no samples"})
            continue
        result["samples"] = one.samples
        result["per_second"] = median(_rates(one))
        result["per_cpu_second"] = median(s["amount"] / max(s["cpu_seconds"], 1e-9) for s in one.samples)
        result["of_limit"] = _ratio(one, by_name.get(one.contender.limit or ""))
        result["ratio"] = _ratio(one, by_name.get(case.baseline or "")) if one.contender.worker != "limits" else None
        results.append(result)
    return {
        "section": case.section,
        "case": case.name,
        "baseline": case.baseline,
        "cold": case.cold,
        "contenders": results,
    }


def _rates(one: _Opened) -> list[float]:
    return [sample["amount"] / sample["seconds"] for sample in one.samples]


def _ratio(one: _Opened, other: _Opened | None) -> float | None:
    if other is None or not other.samples:
        return None
    return median(mine / theirs for mine, theirs in zip(_rates(one), _rates(other), strict=False))


def measure_once(contender: Contender, workers: Workers) -> dict[str, Any]:
    """Measure a task that cannot be repeated, such as a conversion, in a fresh process.

    Returns
    -------
    dict
        As of :func:`measure`'s contenders.
    """
    worker = workers.start(contender.worker, contender.threads)
    result: dict[str, Any] = {"name": contender.name, "unit": contender.unit, "limit": None}
    try:
        number = worker.open(contender.task)
        sample = worker.sample(number)
    except WorkerError as error:
        return {**result, "error": str(error)}
    finally:
        worker.stop()
    rate = sample["amount"] / sample["seconds"]
    return {
        **result,
        "samples": [sample],
        "per_second": rate,
        "per_cpu_second": sample["amount"] / max(sample["cpu_seconds"], 1e-9),
        "of_limit": None,
        "ratio": None,
    }


def _paths(contender: Contender) -> list[Path]:
    task = contender.task
    return [Path(task["store"])] if "store" in task else [Path(path) for path in task.get("h5ad", [])]


def drop_from_cache(paths: list[Path]) -> None:
    """Drop files, and all files in folders, from the page cache; unwritten pages stay."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                fd = os.open(file, os.O_RDONLY)
                try:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(fd)


def read_into_cache(paths: list[Path]) -> None:
    """Read files, and all files in folders, into the page cache."""
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                with file.open("rb", buffering=0) as opened:
                    while opened.read(1 << 24):
                        pass
