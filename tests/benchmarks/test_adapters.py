"""The benchmarks of adapters and of a GPU run: on small data, on the CPU; their times are not looked at."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(repository, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--quick"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_of_adapters(repository):
    printed = run(repository, "benchmarks.adapters")
    names = [name for name in ("torch", "jax") if find_spec(name)]
    for line in [*(f"{name}, sparse" for name in names), "annbatch, from a compact store", "scipy.toarray"]:
        assert line in printed


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_of_a_gpu_on_the_cpu(repository):
    printed = run(repository, "benchmarks.gpu", "--device", "cpu")
    for line in ("pinned memory", "torch, bfloat16", "torch, float32, normalised", "device idle"):
        assert line in printed


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_of_a_gpu_where_there_is_none(repository):
    import torch

    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "No CUDA device found; `--device cpu --quick` shows that all works.\n"
