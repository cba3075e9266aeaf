"""Runs mutations in this process, which may take little more memory than it has: one line of JSON per mutation."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from annbatch.errors import AnnbatchError

from .victims import NotOpenedError, Victim, files_in, victims

ROOM = 1 << 30
"""Bytes that a mutation may take beyond what the process has."""


def prepare(folder: Path) -> dict[str, Victim]:
    """Make all victims that the folder lacks; return them."""
    known = victims()
    for name, victim in known.items():
        made = folder / "made" / name
        if not made.exists():
            fresh = folder / f"new-{name}"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            victim.make(fresh)
            made.parent.mkdir(exist_ok=True)
            fresh.rename(made)
    return known


class Worker:
    """Damages copies of victims, and reads them."""

    def __init__(self, folder: Path, seed: int, show: bool) -> None:
        self._folder, self._seed, self._show = folder, seed, show
        self._victims = prepare(folder)
        self._here = folder / f"work-{os.getpid()}"
        self._right: dict[tuple[str, int], str] = {}
        self._files: dict[str, dict[Path, bytes]] = {}
        self._names = list(self._victims)
        weights = np.array([one.weight for one in self._victims.values()], dtype=float)
        self._shares = weights / weights.sum()

    def warm_up(self) -> None:
        """Read every victim undamaged once, so that code and memory are there; then limit the memory."""
        for name in self._names:
            self._fresh(name)
            self._expected(name, 0)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def _fresh(self, name: str) -> Path:
        """Return a folder with the undamaged victim."""
        made, here = self._folder / "made" / name, self._here / name
        if name not in self._files:
            self._files[name] = {path.relative_to(made): path.read_bytes() for path in files_in(made)}
        known = self._files[name]
        if here.exists():
            for path in files_in(here):
                if path.relative_to(here) not in known:
                    path.unlink()
        for path, data in known.items():
            target = here / path
            if not target.is_file() or target.read_bytes() != data:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        return here

    def _expected(self, name: str, way: int) -> str:
        if (name, way) not in self._right:
            here = self._fresh(name)
            self._right[name, way] = self._victims[name].read(here, way)
            self._fresh(name)
        return self._right[name, way]

    def run(self, number: int) -> dict[str, Any]:
        """Run one mutation; return what came of it."""
        rng = np.random.default_rng([self._seed, number])
        name = self._names[int(rng.choice(len(self._names), p=self._shares))]
        way = int(rng.integers(20))
        victim, expected = self._victims[name], self._expected(name, way)
        here = self._fresh(name)
        what = victim.damage(here, rng)
        begin = time.perf_counter()
        outcome, detail = self._read(victim, here, way, expected, what)
        seconds = round(time.perf_counter() - begin, 3)
        return {"n": number, "victim": name, "what": what, "outcome": outcome, "detail": detail, "s": seconds}

    def _read(self, victim: Victim, here: Path, way: int, expected: str, what: str) -> tuple[str, str]:
        try:
            found = victim.read(here, way)
        except NotOpenedError:
            return "not opened", ""
        except MemoryError as error:
            return "MEMORY", _describe(error, self._show)
        except (AnnbatchError, ValueError) as error:
            said = "\n".join([str(error), *getattr(error, "__notes__", ())])
            named = here.name in said or "http://" in said or said.startswith("`state`")
            ours = isinstance(error, AnnbatchError) or (named and "annbatch" in _innermost(error))
            if ours and named:
                return "error", _describe(error, True) if self._show else ""
            return "UNNAMED" if ours else "FOREIGN", _describe(error, self._show)
        except Exception as error:
            return "FOREIGN", _describe(error, self._show)
        if found == expected:
            return "right", ""
        return ("WRONG", "though a checksum covers it") if victim.covers(here, what) else ("wrong without checksum", "")


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def _describe(error: BaseException, show: bool) -> str:
    if show:
        return "".join(traceback.format_exception(error))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "annbatch" in frame.filename]
    at = f"{frames[-1].filename.rpartition('annbatch/')[2]}:{frames[-1].lineno}" if frames else ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {at} ({Path(last.filename).name}:{last.lineno}): {str(error)[:200]}"


def main() -> None:
    """Read ranges of numbers from standard input, and run them."""
    folder, seed, show = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "show"
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    worker = Worker(folder, seed, show)
    worker.warm_up()
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        first, last = map(int, line.split())
        for number in range(first, last):
            print(json.dumps({"begin": number}), file=answers)
            print(json.dumps(worker.run(number)), file=answers)
        gc.collect()


if __name__ == "__main__":
    main()
