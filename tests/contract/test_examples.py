"""The examples run, and reach the same accuracy from every framework: the batches are the same."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from annbatch import DatasetCollection
from annbatch.demo import write_atlas

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
    assert found[2] > 0.4, "twelve cell types: chance is far below"
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


def run_both(example, arguments):
    """Run an example twice at once, with the arguments and environment of each; return the accuracy that both say."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, str(EXAMPLES / example)]
    processes = [subprocess.Popen([*command, *own], env=os.environ | env, **pipes) for own, env in arguments]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(err for _, err in results)
    one, other = (float(out.strip().rpartition("accuracy on held-out cells: ")[2]) for out, _ in results)
    assert one == other, "both have the same model"
    return one


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_two_ranks_of_torch(atlas, port):
    """Two ranks average their gradients: as one that takes batches of twice the size, up to which cells those hold."""
    store, label, reached = atlas
    if not find_spec("torch"):
        pytest.skip("torch is not installed")
    arguments = [store, label, str(N_EPOCHS)]
    # What `torchrun` sets; starting that takes as long as a rank.
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    accuracy = run_both("torch_ddp.py", [(arguments, group | {"RANK": rank}) for rank in "01"])
    assert accuracy == pytest.approx(reached, abs=0.05)


def test_two_processes_of_jax(atlas, port):
    store, label, reached = atlas
    if not find_spec("jax"):
        pytest.skip("jax is not installed")
    arguments = [store, label, f"127.0.0.1:{port}", "2"]
    accuracy = run_both("jax_distributed.py", [([*arguments, number, str(N_EPOCHS)], {}) for number in "01"])
    assert accuracy == pytest.approx(reached, abs=0.05)
