"""Two real processes share an epoch, under torch.distributed and under jax.distributed; and iterators are saved."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from annbatch import Loader

N_OBS = 203

SCRIPT = """
import json, sys
import numpy as np
from annbatch import Loader
from annbatch.samplers import DistributedSampler, RandomSampler

framework, rank, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
if framework == "torch":
    import torch.distributed
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
else:
    import jax
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=rank)
sampler = DistributedSampler(RandomSampler(3, 8, 4, rng=np.random.default_rng(1)))
assert (sampler.rank, sampler.world_size) == (rank, 2)
rows = np.arange(203, dtype="f4")[:, None]
loader = Loader(batch_sampler=sampler, return_index=True, to=framework).add_dataset(rows)
epochs = [[batch["index"].tolist() for batch in loader] for _ in range(2)]
batches = iter(loader)
half = [next(batches)["index"].tolist() for _ in range(9)]
with open(f"{folder}/{rank}.json", "w") as file:
    json.dump({"epochs": epochs, "half": half, "state": loader.state_dict()}, file)
if framework == "torch":
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
else:
    jax.distributed.shutdown()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_two_processes_share_every_epoch(framework, tmp_path):
    pytest.importorskip(framework, reason=f"{framework} is not installed", exc_type=ImportError)
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, framework, str(rank), str(port), str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},  # as `torchrun` sets it: ranks share the cores
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    said = [json.loads(Path(tmp_path, f"{rank}.json").read_text()) for rank in range(2)]
    for first, second in zip(said[0]["epochs"], said[1]["epochs"], strict=True):
        assert len(first) == len(second) == N_OBS // 4 // 2
        rows = [row for batch in first + second for row in batch]
        assert len(set(rows)) == len(rows) == N_OBS - N_OBS % 8
    assert set(map(tuple, said[0]["epochs"][0])) != set(map(tuple, said[0]["epochs"][1]))
    assert said[0]["state"] == said[1]["state"]

    # One process takes up what both had left.
    from annbatch.samplers import DistributedSampler, RandomSampler

    alone = DistributedSampler(RandomSampler(3, 8, 4, rng=np.random.default_rng(1)), dist_info=lambda: (0, 1))
    loader = Loader(batch_sampler=alone, return_index=True).add_dataset(np.zeros((N_OBS, 1)))
    loader.load_state_dict(said[1]["state"])
    assert loader.epoch == 2
    rows = [row for one in said for batch in one["half"] for row in batch]
    rows += [row for batch in loader for row in batch["index"].tolist()]
    assert len(set(rows)) == len(rows) == N_OBS - N_OBS % 4


def make_iterator(n_epochs=None):
    from annbatch_jax import CheckpointableIterator

    loader = Loader(batch_size=4, chunk_size=4, preload_nchunks=3, shuffle=True, seed=0, return_index=True, to="jax")
    return CheckpointableIterator(loader.add_dataset(np.zeros((50, 2), "f4")), n_epochs=n_epochs)


def test_an_iterator_over_no_batches_says_so():
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    from annbatch_jax import CheckpointableIterator

    loader = Loader(batch_size=8, chunk_size=4, preload_nchunks=2, drop_last=True, to="jax")
    loader.add_dataset(np.zeros((5, 2), "f4"))
    with pytest.raises(ValueError, match="`n_epochs` must be given if an epoch has no batches, got None"):
        next(CheckpointableIterator(loader))
    assert list(CheckpointableIterator(loader, n_epochs=2)) == []


def test_an_iterator_goes_on_across_epochs():
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    expected = [batch["index"].tolist() for batch in make_iterator(n_epochs=3)]
    assert len(expected) == 3 * 13
    for taken in range(0, 39, 5):
        batches = make_iterator(n_epochs=3)
        for _ in range(taken):
            next(batches)
        other = make_iterator(n_epochs=3)
        next(other)
        other.set_state(json.loads(json.dumps(batches.get_state())))
        assert [batch["index"].tolist() for batch in other] == expected[taken:]


def test_orbax_saves_and_restores_an_iterator(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed", exc_type=ImportError)
    checkpoint = pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed", exc_type=ImportError)
    batches = make_iterator()
    for _ in range(17):
        next(batches)
    with checkpoint.CheckpointManager(tmp_path / "run") as manager:
        manager.save(17, args=checkpoint.args.Composite(batches=checkpoint.args.JsonSave(batches.get_state())))
        manager.wait_until_finished()
        restored = manager.restore(17, args=checkpoint.args.Composite(batches=checkpoint.args.JsonRestore()))
    other = make_iterator()
    other.set_state(restored["batches"])
    assert [next(other)["index"].tolist() for _ in range(9)] == [next(batches)["index"].tolist() for _ in range(9)]
