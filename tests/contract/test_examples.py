"""The examples run, and reach the same accuracy from every framework: the batches are the same."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.demo._atlas import write_atlas

EXAMPLES = Path(__file__).parents[2] / "examples"
N_EPOCHS = 10


def load(example, *needs):
    """Return the example's names, or skip the test where what it needs is not installed."""
    for name in needs:
        if not find_spec(name):
            pytest.skip(f"{name} is not installed")
    return runpy.run_path(str(EXAMPLES / f"{example}.py"))


@pytest.fixture(scope="module", params=["the demo's atlas", "real cells"])
def cells(request, tmp_path_factory):
    """Return a store, the name of its labels, and the accuracy that NumPy reaches on it."""
    folder = tmp_path_factory.mktemp("cells")
    if request.param == "real cells":
        files, label, chance = [request.getfixturevalue("shared_data") / "pbmc68k_reduced.h5ad"], "bulk_labels", 0.6
    else:
        files, label, chance = write_atlas(folder, cells_per_study=300, n_genes=200, seed=0), "cell_type", 0.5
    rng = np.random.default_rng(0)
    DatasetCollection(folder / "cells.zarr").add_adatas(files, shuffle=True, rng=rng, progress=False)
    reached = load("plain_numpy")["train"](folder / "cells.zarr", label, n_epochs=N_EPOCHS)
    assert reached > chance, "ten labels or more: chance is far below"
    return str(folder / "cells.zarr"), label, reached


@pytest.mark.parametrize(("example", "needs"), [("plain_torch", ["torch"]), ("plain_jax", ["jax"])])
def test_plain_loops(cells, example, needs):
    store, label, reached = cells
    assert load(example, *needs)["train"](store, label, n_epochs=N_EPOCHS) == pytest.approx(reached, abs=0.01)


def test_flax_nnx_compiles_at_most_once_a_bucket(cells):
    from annbatch_jax import JaxAdapter

    store, label, reached = cells
    nnx = load("jax_flax_nnx", "jax", "flax")
    nnzs = []

    class Recording(JaxAdapter):
        def csr(self, matrix):
            nnzs.append((matrix.shape[0], matrix.nnz))
            return super().csr(matrix)

    adapter = Recording()
    accuracy = nnx["train"](store, label, n_epochs=N_EPOCHS, to=adapter)
    assert accuracy == pytest.approx(reached, abs=0.01)
    buckets = {(rows, adapter.capacity(nnz)) for rows, nnz in nnzs}
    assert len(nnx["traces"]) <= len(buckets) < len(set(nnzs)) / 4, "many batches, few shapes"


# Lightning tells of choices of its own, and calls a function that PyTorch is about to rename.
@pytest.mark.filterwarnings("ignore:::lightning", "ignore:.*LeafSpec.*:FutureWarning")
def test_lightning(cells):
    store, label, reached = cells
    accuracy = load("torch_lightning", "torch", "lightning")["train"](store, label, n_epochs=N_EPOCHS)
    assert accuracy == pytest.approx(reached, abs=0.01)
