"""Runs mutations in this process, which may take little more memory than it has: one line of JSON per mutation."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from annbatch.errors import AnnbatchError

from .victims import NotOpenedError, Victim, entries_in, victims

ROOM = 1 << 30
"""Bytes that a mutation may take beyond what the process has."""


_PLACES = (
    "http://",
    "memory://",
    "`state`",
    "the state",
    "`var_names`",
    "`obs` must",
    "of store",
    "store/.annbatch-work",
)
"""What errors name beside the folder of the victim."""


class Copy:
    """A victim in the folder where it was made, which is brought back to its first state after each mutation."""

    def __init__(self, victim: Victim, here: Path, kept: Path) -> None:
        if not kept.exists():  # else an earlier process made it
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir(parents=True)
            victim.make(here)
            shutil.copytree(here, kept)
        self.victim, self.here = victim, here
        entries = {f"{here}/{path.relative_to(kept)}": path for path in entries_in(kept)}
        self._folders = sorted(name for name, path in entries.items() if path.is_dir())
        files = {name: path for name, path in entries.items() if path.is_file()}
        self._files = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files.items()}

    def restore(self) -> Path:
        """Undo all changes; return the folder."""
        for folder, folders, names in os.walk(self.here, topdown=False):
            for path in (f"{folder}/{name}" for name in names):
                if path not in self._files:
                    Path(path).unlink()
            for path in (f"{folder}/{name}" for name in folders):
                if path not in self._folders:
                    Path(path).unlink() if Path(path).is_symlink() else Path(path).rmdir()
        for path in self._folders:
            Path(path).mkdir(exist_ok=True)
        for path, (data, mtime) in self._files.items():
            file = Path(path)
            if not file.exists() or file.lstat().st_mtime_ns != mtime or file.read_bytes() != data:
                file.unlink(missing_ok=True)
                file.write_bytes(data)
                os.utime(file, ns=(mtime, mtime))
        return self.here


class Worker:
    """Damages victims, and reads them."""

    def __init__(self, folder: Path, seed: int, show: bool) -> None:
        self._seed, self._show = seed, show
        known = victims()
        self._names = list(known)
        self._copies = [Copy(one, folder / "here" / name, folder / "kept" / name) for name, one in known.items()]
        weights = np.array([one.weight for one in known.values()], dtype=float)
        self._shares = weights / weights.sum()
        self._right: dict[tuple[int, int], str] = {}

    def warm_up(self) -> None:
        """Read every victim undamaged once, so that code and memory are there; then limit the memory."""
        for number in range(len(self._names)):
            self._expected(number, 0)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def _expected(self, number: int, way: int) -> str:
        if (number, way) not in self._right:
            copy = self._copies[number]
            self._right[number, way] = copy.victim.read(copy.restore(), way)
        return self._right[number, way]

    def run(self, number: int) -> dict[str, Any]:
        """Run one mutation; return what came of it."""
        rng = np.random.default_rng([self._seed, number])
        which = int(rng.choice(len(self._names), p=self._shares))
        copy = self._copies[which]
        way = int(rng.integers(copy.victim.ways))
        expected = self._expected(which, way)
        what = copy.victim.damage(copy.restore(), rng)
        begin = time.perf_counter()
        outcome, detail = self._read(copy, way, expected, what)
        seconds = round(time.perf_counter() - begin, 3)
        name = self._names[which]
        return {"n": number, "victim": name, "what": what, "outcome": outcome, "detail": detail, "s": seconds}

    def _read(self, copy: Copy, way: int, expected: str, what: str) -> tuple[str, str]:
        try:
            found = copy.victim.read(copy.here, way)
        except NotOpenedError:
            return "not opened", ""
        except MemoryError as error:
            return "MEMORY", _describe(error, self._show)
        except (AnnbatchError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
            said = "\n".join([str(error), *getattr(error, "__notes__", ())])
            named = any(mark in said for mark in (copy.here.name, *_PLACES))
            ours = named and ("annbatch/" in _innermost(error) or isinstance(error, FileNotFoundError))
            ours |= isinstance(error, AnnbatchError)
            if not ours:
                return "FOREIGN", _describe(error, self._show)
            named = named and (_names_chunk(said, what) or "names differ" in said or "has changed since" in said)
            return "error" if named else "UNNAMED", "" if named and not self._show else _describe(error, self._show)
        except Exception as error:
            return "FOREIGN", _describe(error, self._show)
        if found == expected:
            return "right", ""
        outcome = copy.victim.judge(copy.here, what)
        return outcome, "though a checksum covers it" if outcome == "WRONG" else ""


def _names_chunk(said: str, what: str) -> bool:
    """Return whether an error names array and chunk, or the values in it, where a chunk was damaged."""
    path = what.partition(":")[0]
    found = re.search(r"(?:^|/)(X|layers/\w+|obsm/\w+|(?:obs|var)/\w+)(?:/\w+)?/((?:c/)?[0-9./]+)$", path)
    if found is None:
        return True
    chunk = found[2] in said or re.search(r"[Cc]hunks? \(?\d|(rows?|numbers|codes|values|names|strings|items) ", said)
    return (found[1].partition("/")[2] or found[1]) in said and bool(chunk)


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename if frames else ""


def _describe(error: BaseException, show: bool) -> str:
    if show:
        return "".join(traceback.format_exception(error))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "annbatch/" in frame.filename]
    at = f"{frames[-1].filename.rpartition('annbatch/')[2]}:{frames[-1].lineno}" if frames else ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {at} ({Path(last.filename).name}:{last.lineno}): {str(error)[:300]}"


def main() -> None:
    """Read ranges of numbers from standard input, and run them."""
    folder, seed, show = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "show"
    warnings.simplefilter("ignore")
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not be taken for an answer
    worker = Worker(folder, seed, show)
    worker.warm_up()
    print(json.dumps({"ready": True}), file=answers)
    for line in sys.stdin:
        for number in range(*map(int, line.split())):
            print(json.dumps({"begin": number}), file=answers)
            print(json.dumps(worker.run(number)), file=answers)
            if number % 200 == 0:
                gc.collect()


if __name__ == "__main__":
    main()
