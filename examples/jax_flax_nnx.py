"""A softmax regression in Flax NNX, on sparse batches: ``python examples/jax_flax_nnx.py cells.zarr cell_type``."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.experimental.sparse import BCSR

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split


class Classifier(nnx.Module):
    def __init__(self, n_features: int, n_classes: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((n_features, n_classes)))
        self.bias = nnx.Param(jnp.zeros(n_classes))

    def __call__(self, x: BCSR) -> jax.Array:
        x = BCSR((jnp.log1p(x.data.astype(jnp.float32)), x.indices, x.indptr), shape=x.shape)
        squares = BCSR((x.data**2, x.indices, x.indptr), shape=x.shape)
        norms = jnp.sqrt(squares @ jnp.ones((x.shape[1], 1)))
        return (x @ self.kernel[...]) / norms.clip(1) + self.bias[...]


traces = []
"""Values per batch for which `step` was compiled."""


@nnx.jit
def step(model: Classifier, optimizer: nnx.Optimizer, x: BCSR, labels: jax.Array) -> None:
    traces.append(x.nse)

    def loss(model: Classifier) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

    optimizer.update(model, nnx.grad(loss)(model))


@nnx.jit
def count_right(model: Classifier, x: BCSR, labels: jax.Array) -> jax.Array:
    return (model(x).argmax(axis=1) == labels).sum()


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0, to: Any = "jax") -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    settings = {"to": to, "labels": label}
    settings |= {"batch_size": 64, "chunk_size": 8, "preload_nchunks": 16}
    training = Loader(collection, rows=parts["train"], shuffle=True, seed=seed, **settings)
    held_out = Loader(collection, rows=parts["test"], **settings)

    model = Classifier(training.n_vars, len(training.classes))
    optimizer = nnx.Optimizer(model, optax.sgd(5), wrt=nnx.Param)
    for _ in range(n_epochs):
        for batch in training:
            step(model, optimizer, batch["X"], batch["labels"])

    right = sum(int(count_right(model, batch["X"], batch["labels"])) for batch in held_out)
    return right / len(parts["test"])


if __name__ == "__main__":
    print(f"accuracy on held-out cells: {train(*sys.argv[1:]):.3f}")
