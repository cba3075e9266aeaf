"""Global arrays over many devices and processes: eight made-up devices in a process of their own, and two processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

from annbatch_jax import JaxAdapter

pytestmark = pytest.mark.skipif(not find_spec("jax"), reason="JAX is not installed")

LOADER = """
import sys
import jax, numpy as np, pandas as pd
from jax.sharding import NamedSharding, PartitionSpec
from annbatch import Loader
from annbatch_jax import JaxAdapter

x = np.arange(320 * 6, dtype=np.float32).reshape(320, 6)
obs = pd.DataFrame({"label": pd.Categorical(list("ab") * 160), "depth": np.arange(320, dtype=np.float32)})

def loader(sharding, rows=slice(None), batch_size=64, **options):
    options = {"obs_as": "arrays", "return_index": True, **options}
    made = Loader(batch_size=batch_size, chunk_size=8, preload_nchunks=8, to=JaxAdapter(sharding=sharding), **options)
    return made.add_dataset(x[rows], obs=obs[rows].reset_index(drop=True))
"""

EIGHT_DEVICES = (
    LOADER
    + """
assert jax.device_count() == 8
mesh = jax.make_mesh((4, 2), ("rows", "genes"))
both = ("rows", "genes")
for spec, shard in ((("rows",), (16, 6)), ((both,), (8, 6)), (both, (16, 3)), ((None,), (64, 6))):
    sharding = NamedSharding(mesh, PartitionSpec(*spec))
    seen = []
    for batch in loader(sharding):
        assert batch["X"].shape == (64, 6)
        assert {each.data.shape for each in batch["X"].addressable_shards} == {shard}, spec
        np.testing.assert_array_equal(batch["X"], x[batch["index"]])
        np.testing.assert_array_equal(batch["obs"]["depth"], obs["depth"][batch["index"]])
        assert batch["obs"]["label"].sharding.spec == PartitionSpec(spec[0])
        seen.append(batch["index"])
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(320))
for step in (lambda x: x.sum(), jax.jit(lambda x: x @ x.T)):
    np.testing.assert_allclose(step(batch["X"]), step(np.asarray(batch["X"])), rtol=1e-6)

def message(action):
    try:
        action()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"

rows = NamedSharding(mesh, PartitionSpec("rows"))
print(message(lambda: next(iter(loader(rows, batch_size=1)))))
from scipy import sparse
some = Loader(batch_size=64, to=JaxAdapter(sharding=rows))
print(message(lambda: next(iter(some.add_dataset(sparse.csr_matrix(x))))))
dense = Loader(batch_size=64, chunk_size=64, densify=True, to=JaxAdapter(sharding=rows))
np.testing.assert_array_equal(next(iter(dense.add_dataset(sparse.csr_matrix(x))))["X"], x[:64])
import pickle
print(message(lambda: pickle.dumps(JaxAdapter(sharding=rows))))
"""
)

TWO_PROCESSES = (
    LOADER
    + """
process = int(sys.argv[2])
jax.distributed.initialize(sys.argv[1], 2, process)
assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
mesh = jax.make_mesh((4,), ("rows",))
sharding = NamedSharding(mesh, PartitionSpec("rows"))
mine = slice(0, 160) if process == 0 else slice(160, 320)
total = jax.jit(lambda x: x.sum(axis=0))
sums, numbers = np.zeros(6, np.float32), []
for batch in loader(sharding, mine, batch_size=32):
    assert batch["X"].shape == (64, 6) and batch["obs"]["depth"].shape == (64,)
    assert {each.data.shape for each in batch["X"].addressable_shards} == {(16, 6)}
    for each in batch["X"].addressable_shards:
        own = np.asarray(each.data)
        np.testing.assert_array_equal(own, x[mine][batch["index"]][(each.index[0].start - 32 * process):][:16])
    sums += np.asarray(total(batch["X"]))
    numbers.append(float(jax.jit(lambda depth: depth.sum())(batch["obs"]["depth"])))
np.testing.assert_allclose(sums, x.sum(axis=0), rtol=1e-6)
assert sum(numbers) == obs["depth"].sum()
print("done")
"""
)


def run(code: str, *arguments: str, devices: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_eight_devices():
    process = run(EIGHT_DEVICES, devices=8)
    out, err = process.communicate()
    assert process.returncode == 0, err
    undivided, sparse, pickled = out.splitlines()
    assert undivided.startswith("ValueError: A batch must divide over the 4 devices of this process, got 1 rows: make")
    assert sparse.startswith("TypeError: JAX cannot shard the rows of a sparse matrix: use dense batches (`L")
    assert pickled.startswith("TypeError: A JaxAdapter with `sharding` cannot be pickled")


def test_two_processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [run(TWO_PROCESSES, address, str(number), devices=2) for number in range(2)]
    results = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(err for _, err in results)
    assert [out.split()[-1] for out, _ in results] == ["done", "done"]  # Gloo prints before


def test_what_is_no_sharding_of_rows():
    import jax

    for sharding in (jax.devices()[0], jax.sharding.SingleDeviceSharding(jax.devices()[0]), "rows"):
        with pytest.raises(TypeError, match=r"`sharding` must be a jax\.sharding\.NamedSharding whose spec names the"):
            JaxAdapter(sharding=sharding)


def test_what_it_excludes():
    import jax

    sharding = jax.sharding.NamedSharding(jax.make_mesh((1,), ("rows",)), jax.sharding.PartitionSpec("rows"))
    with pytest.raises(ValueError, match="`sharding` excludes `device`: it names the devices itself, got 'cpu'"):
        JaxAdapter("cpu", sharding=sharding)
    with pytest.raises(ValueError, match="`stages` must not be True with `sharding`"):
        JaxAdapter(sharding=sharding, stages=True)
