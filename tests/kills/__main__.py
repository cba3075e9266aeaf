"""The command: kills, checks, and tells what came of it; the exit status is 1 if anything did not hold."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .scenes import SCENES, copy, is_finished, write_inputs

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_S3 = Path(__file__).parents[1] / "s3_server.py"


@contextmanager
def _process(command: list[str], **how: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **how) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def _bucket() -> Iterator[None]:
    """Serve a bucket by the S3 protocol, and point the environment at it."""
    with _process([sys.executable, "-W", "ignore", str(_S3)], stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().split()[-1]}"
        urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT")).close()
        keys = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "secret"}
        os.environ |= keys | {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
        yield


class Kills:
    """Kills calls in a folder."""

    def __init__(self, folder: Path, calls: subprocess.Popen[str]) -> None:
        self._folder, self._calls = folder, calls
        self._calm: dict[str, tuple[dict[str, Any], float]] = {}

    def _run(self, scene: str, at: Path, kill_after: float | None = None, sent: int = 0) -> tuple[Any, str, float]:
        assert self._calls.stdin is not None
        assert self._calls.stdout is not None
        request = [scene, str(at), str(self._folder / "inputs"), kill_after, sent]
        print(json.dumps(request), file=self._calls.stdin, flush=True)
        status, said, seconds = json.loads(self._calls.stdout.readline())
        return status, said, seconds

    def _before(self, scene: str) -> Path:
        """Make what is there before a call, and what an undisturbed call makes of it."""
        name = scene.replace(" ", "-")
        before, calm = self._folder / f"{name}-before", self._folder / f"{name}-calm"
        if scene not in self._calm:
            before.mkdir()
            SCENES[scene].before(before, self._folder / "inputs")
            results, times = [], []
            for _ in range(2):  # the first one may wait for what is to be imported
                shutil.rmtree(calm, ignore_errors=True)
                copy(before, calm) if not results else copy(before, calm := calm.with_name(f"{name}-calm-again"))
                status, said, seconds = self._run(scene, calm)
                assert status == 0, said
                results.append(SCENES[scene].result(calm))
                times.append(seconds)
            assert results[0] == results[1], "two undisturbed calls differ"
            self._calm[scene] = results[1], times[1]
        return before

    def kill(self, number: int, scene: str, sent: signal.Signals, share: float) -> str:
        """Kill a call after a share of its time, check what is left, and make it again; return the outcome.

        Raises
        ------
        AssertionError
            If what was there does not read, or the call ends otherwise than an undisturbed one.
        """
        one, before = SCENES[scene], self._before(scene)
        calm, seconds = self._calm[scene]
        at = self._folder / f"{number}-{before.name.removesuffix('-before')}"
        copy(before, at)
        status, said, _ = self._run(scene, at, seconds * share, sent)
        assert status != "hang", "the call hangs after the signal"
        killed = status == -sent or "KeyboardInterrupt" in said
        assert killed or status == 0, f"an interrupted call said {said}"
        one.check(at)
        outcome = "killed" if killed else "ended before"
        if one.once or not is_finished(one.result(at), calm):
            status, said, _ = self._run(scene, at)
            assert status == 0 or (one.once and "already" in said), f"the same call again: {status} {said}"
            outcome += ", then completed" if status == 0 else ", then said that it was done"
        else:
            outcome += ", and had come to its end"
        one.check(at)
        found = one.result(at)
        assert is_finished(found, calm), (
            f"differs: {sorted(name for name in {*found, *calm} if found.get(name) != calm.get(name))}"
        )
        shutil.rmtree(at)
        return outcome


def main() -> int:
    """Kill calls, and print what came of each scene."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=14, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--only", choices=SCENES, action="append", help="kill these calls alone")
    arguments = parser.parse_args()
    has_bucket = all(find_spec(name) for name in ("moto", "obstore"))
    names = [name for name in arguments.only or SCENES if has_bucket or not name.startswith(("remote", "cache"))]
    outcomes, failures = Counter[tuple[str, str]](), 0
    with tempfile.TemporaryDirectory(prefix="annbatch-kills-") as made:
        folder = Path(made)
        (folder / "inputs").mkdir()
        (folder / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
        write_inputs(folder / "inputs")
        command = [sys.executable, "-W", "ignore", "-m", "tests.kills.server", str(folder / "inputs")]
        with _bucket(), _process(command) as calls:
            assert calls.stdout is not None
            assert calls.stdout.readline() == "ready\n"
            kills = Kills(folder, calls)
            for number in range(arguments.kills):
                rng = np.random.default_rng([arguments.seed, number])
                scene, sent = names[number % len(names)], SIGNALS[int(rng.integers(3))]
                share = float(rng.uniform(0, 1))
                try:
                    outcome = kills.kill(number, scene, sent, share)
                except Exception:  # counted, and the next one may hold
                    outcome, failures = "FAILED", failures + 1
                    print(f"{number}: {scene}, {sent.name} after {share:.3f}: {traceback.format_exc()}", flush=True)
                outcomes[scene, outcome] += 1
        left = sorted(path.name for path in (folder / "tmp").iterdir())
    for (scene, outcome), count in sorted(outcomes.items()):
        print(f"{scene:<18} {count:>4} {outcome}")
    print(f"{sum(outcomes.values())} kills, {failures} failures; left in the temporary folder: {left}")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
