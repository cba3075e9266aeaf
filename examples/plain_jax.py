"""A softmax regression in a plain JAX loop: ``python examples/plain_jax.py cells.zarr cell_type``."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split


def scores(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    x = jnp.log1p(x.astype(jnp.float32))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True).clip(1)
    return x @ weights["kernel"] + weights["bias"]


@jax.jit
def step(weights: dict[str, jax.Array], batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
    def loss(weights: dict[str, jax.Array]) -> jax.Array:
        likelihoods = jax.nn.log_softmax(scores(weights, batch["x"]))
        return -jnp.take_along_axis(likelihoods, batch["label"][:, None], axis=1).mean()

    return jax.tree.map(lambda weight, slope: weight - 5 * slope, weights, jax.grad(loss)(weights))


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    settings = {"to": "jax", "densify": True, "labels": label}
    settings |= {"batch_size": 64, "chunk_size": 8, "preload_nchunks": 16}
    training = Loader(collection, rows=parts["train"], shuffle=True, seed=seed, **settings)
    held_out = Loader(collection, rows=parts["test"], **settings)

    n_classes = len(training.classes)
    weights = {"kernel": jnp.zeros((training.n_vars, n_classes)), "bias": jnp.zeros(n_classes)}
    for _ in range(n_epochs):
        for batch in training:
            weights = step(weights, {"x": batch["X"], "label": batch["labels"]})

    right = [scores(weights, batch["X"]).argmax(axis=1) == batch["labels"] for batch in held_out]
    return float(jnp.concatenate(right).mean())


if __name__ == "__main__":
    print(f"accuracy on held-out cells: {train(*sys.argv[1:]):.3f}")
