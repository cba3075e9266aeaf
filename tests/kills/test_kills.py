"""A kill of each kind; the command, ``python -m tests.kills``, does as many as you like."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_calls_that_are_killed_are_completed_by_the_same_call() -> None:
    scenes = ["reshuffle", "h5ad spill", "remote spill", "write_sharded", "split"]
    command = [sys.executable, "-W", "ignore", "-m", "tests.kills", "--kills", str(len(scenes))]
    for scene in scenes:
        command += ["--only", scene]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
