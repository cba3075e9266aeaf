"""The examples run, and reach the same accuracy from every framework: the batches are the same."""

from __future__ import annotations

import runpy
import socket
import subprocess
import sys
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


def collect(folder, files, label):
    """Return a store, the name of its labels, and the accuracy that NumPy reaches on it."""
    rng = np.random.default_rng(0)
    DatasetCollection(folder / "cells.zarr").add_adatas(files, shuffle=True, rng=rng, progress=False)
    reached = load("plain_numpy")["train"](folder / "cells.zarr", label, n_epochs=N_EPOCHS)
    return str(folder / "cells.zarr"), label, reached


@pytest.fixture(scope="module")
def atlas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    found = collect(folder, write_atlas(folder, cells_per_study=300, n_genes=200, seed=0), "cell_type")
    assert found[2] > 0.5, "twelve cell types: chance is far below"
    return found


@pytest.fixture(scope="module")
def real_cells(tmp_path_factory, shared_data):
    found = collect(tmp_path_factory.mktemp("pbmc"), [shared_data / "pbmc68k_reduced.h5ad"], "bulk_labels")
    assert found[2] > 0.6, "ten labels: chance is far below"
    return found


@pytest.fixture(params=["atlas", "real_cells"])
def cells(request):
    return request.getfixturevalue(request.param)


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


def run(*commands):
    """Run commands at once and return what each printed last."""
    processes = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(commands), "\n".join(err for _, err in results)
    return [out.strip().splitlines() for out, _ in results]


def accuracies(lines):
    return [float(line.rpartition(": ")[2]) for line in lines if "accuracy on held-out cells" in line]


def test_two_ranks_of_torch(atlas):
    """Two ranks average their gradients: as one that takes batches of twice the size, up to which cells those hold."""
    store, label, reached = atlas
    if not find_spec("torch"):
        pytest.skip("torch is not installed")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    (lines,) = run([*launch, str(EXAMPLES / "torch_ddp.py"), store, label, str(N_EPOCHS)])
    one, other = accuracies(lines)
    assert one == other, "both ranks have the same model"
    assert one == pytest.approx(reached, abs=0.05)


def test_two_processes_of_jax(atlas):
    store, label, reached = atlas
    if not find_spec("jax"):
        pytest.skip("jax is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    example = [sys.executable, str(EXAMPLES / "jax_distributed.py"), store, label, address, "2"]
    first, second = run(*([*example, str(number), str(N_EPOCHS)] for number in range(2)))
    assert accuracies(first) == accuracies(second), "both processes have the same model"
    assert accuracies(first)[0] == pytest.approx(reached, abs=0.05)
