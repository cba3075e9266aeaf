"""A softmax regression in NumPy alone: ``python examples/plain_numpy.py cells.zarr cell_type``."""

from __future__ import annotations

import sys

import numpy as np

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split


def features(x: np.ndarray) -> np.ndarray:
    x = np.log1p(x.astype(np.float32))
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1)


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    settings = {"densify": True, "labels": label}
    settings |= {"batch_size": 64, "chunk_size": 8, "preload_nchunks": 16}
    training = Loader(collection, rows=parts["train"], shuffle=True, seed=seed, **settings)
    held_out = Loader(collection, rows=parts["test"], **settings)

    n_classes = len(training.classes)
    kernel, bias = np.zeros((training.n_vars, n_classes), np.float32), np.zeros(n_classes, np.float32)
    for _ in range(n_epochs):
        for batch in training:
            x, labels = features(batch["X"]), batch["labels"]
            scores = np.exp(x @ kernel + bias)
            slopes = (scores / scores.sum(axis=1, keepdims=True) - np.eye(n_classes)[labels]) / len(x)
            kernel -= 5 * (x.T @ slopes)
            bias -= 5 * slopes.sum(axis=0)

    right = [(features(batch["X"]) @ kernel + bias).argmax(axis=1) == batch["labels"] for batch in held_out]
    return float(np.concatenate(right).mean())


if __name__ == "__main__":
    print(f"accuracy on held-out cells: {train(*sys.argv[1:]):.3f}")
