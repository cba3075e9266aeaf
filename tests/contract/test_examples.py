"""The examples run, and reach the same accuracy from every framework: the batches are the same."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.demo._atlas import write_atlas

EXAMPLES = Path(__file__).parents[2] / "examples"


def accuracies(store: Path, label: str) -> dict[str, float]:
    """Train with each framework that is installed, on the same batches in the same order."""
    found = {"numpy": runpy.run_path(str(EXAMPLES / "plain_numpy.py"))["train"](store, label, n_epochs=10)}
    for name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed", exc_type=ImportError)
        found[name] = runpy.run_path(str(EXAMPLES / f"plain_{name}.py"))["train"](store, label, n_epochs=10)
    return found


def test_on_the_demo_atlas(tmp_path):
    files = write_atlas(tmp_path, cells_per_study=300, n_genes=200, seed=0)
    rng = np.random.default_rng(0)
    DatasetCollection(tmp_path / "atlas.zarr").add_adatas(files, shuffle=True, rng=rng, progress=False)
    found = accuracies(tmp_path / "atlas.zarr", "cell_type")
    assert found["numpy"] > 0.5, "twelve cell types: chance is far below"
    assert found["torch"] == pytest.approx(found["numpy"], abs=0.01)
    assert found["jax"] == pytest.approx(found["numpy"], abs=0.01)


def test_on_real_cells(tmp_path, shared_data):
    files = [shared_data / "pbmc68k_reduced.h5ad"]
    rng = np.random.default_rng(0)
    DatasetCollection(tmp_path / "pbmc.zarr").add_adatas(files, shuffle=True, rng=rng, progress=False)
    found = accuracies(tmp_path / "pbmc.zarr", "bulk_labels")
    assert found["numpy"] > 0.6, "ten labels: chance is far below"
    assert found["torch"] == pytest.approx(found["numpy"], abs=0.02)
    assert found["jax"] == pytest.approx(found["numpy"], abs=0.02)
