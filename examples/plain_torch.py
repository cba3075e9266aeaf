"""A softmax regression in a plain PyTorch loop: ``python examples/plain_torch.py cells.zarr cell_type``."""

from __future__ import annotations

import sys

import torch

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split


def features(x: torch.Tensor) -> torch.Tensor:
    x = torch.log1p(x.float())
    return x / x.norm(dim=1, keepdim=True).clamp(min=1)


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    settings = {"to": "torch", "densify": True, "labels": label}
    settings |= {"batch_size": 64, "chunk_size": 8, "preload_nchunks": 16}
    training = Loader(collection, rows=parts["train"], shuffle=True, seed=seed, **settings)
    held_out = Loader(collection, rows=parts["test"], **settings)

    model = torch.nn.Linear(training.n_vars, len(training.classes))
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=5)
    for _ in range(n_epochs):
        for batch in training:
            loss = torch.nn.functional.cross_entropy(model(features(batch["X"])), batch["labels"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        right = [model(features(batch["X"])).argmax(dim=1) == batch["labels"] for batch in held_out]
    return torch.cat(right).float().mean().item()


if __name__ == "__main__":
    print(f"accuracy on held-out cells: {train(*sys.argv[1:]):.3f}")
