"""A softmax regression in several JAX processes, each loading its share of every batch.

Start two processes, on one host or two: ``python examples/jax_distributed.py cells.zarr cell_type HOST:PORT 2 0``, and
the same with ``1`` at the end. HOST:PORT is the address of process 0.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split
from annbatch_jax import JaxAdapter


def scores(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    x = jnp.log1p(x.astype(jnp.float32))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True).clip(1)
    return x @ weights["kernel"] + weights["bias"]


@jax.jit
def step(weights: dict[str, jax.Array], x: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
    def loss(weights: dict[str, jax.Array]) -> jax.Array:
        likelihoods = jax.nn.log_softmax(scores(weights, x))
        return -jnp.take_along_axis(likelihoods, labels[:, None], axis=1).mean()

    return jax.tree.map(lambda weight, slope: weight - 5 * slope, weights, jax.grad(loss)(weights))


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    mesh = jax.make_mesh((jax.device_count(),), ("rows",))
    rows, everywhere = (NamedSharding(mesh, PartitionSpec(*names)) for names in (["rows"], []))

    settings = {"densify": True, "labels": label}
    sizes = {"chunk_size": 8, "preload_nchunks": 8, "batch_size": 64 // jax.process_count(), "drop_last": True}
    order = {"shuffle": True, "seed": seed, "distributed": True}
    training = Loader(collection, rows=parts["train"], to=JaxAdapter(sharding=rows), **sizes, **order, **settings)
    held_out = Loader(
        collection, rows=parts["test"], to="jax", chunk_size=8, batch_size=64, distributed=False, **settings
    )

    n_classes = len(training.classes)
    weights = {"kernel": jnp.zeros((training.n_vars, n_classes)), "bias": jnp.zeros(n_classes)}
    weights = jax.device_put(weights, everywhere)
    for _ in range(n_epochs):
        for batch in training:
            weights = step(weights, batch["X"], batch["labels"])

    weights = jax.tree.map(lambda weight: weight.addressable_data(0), weights)
    right = [scores(weights, batch["X"]).argmax(axis=1) == batch["labels"] for batch in held_out]
    return float(jnp.concatenate(right).mean())


if __name__ == "__main__":
    store, label, coordinator, n_processes, process = sys.argv[1:6]
    jax.distributed.initialize(coordinator, int(n_processes), int(process))
    accuracy = train(store, label, n_epochs=int(sys.argv[6]) if len(sys.argv) > 6 else 20)
    print(f"process {process} of {jax.device_count()} devices: accuracy on held-out cells: {accuracy:.3f}")
