"""A softmax regression on several ranks: ``torchrun --nproc-per-node 2 examples/torch_ddp.py cells.zarr cell_type``."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from annbatch import DatasetCollection, Loader
from annbatch.samplers import split


def features(x: torch.Tensor) -> torch.Tensor:
    x = torch.log1p(x.float())
    return x / x.norm(dim=1, keepdim=True).clamp(min=1)


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection, each rank on its share, and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    settings = {"to": "torch", "densify": True, "labels": label}
    # All ranks get the same number of batches; otherwise, one would wait for the others' gradients for ever.
    sizes = {"chunk_size": 8, "preload_nchunks": 8, "batch_size": 64 // dist.get_world_size()}
    training = Loader(collection, rows=parts["train"], shuffle=True, seed=seed, distributed=True, **sizes, **settings)
    held_out = Loader(collection, rows=parts["test"], chunk_size=8, batch_size=64, distributed=False, **settings)

    linear = torch.nn.Linear(training.n_vars, len(training.classes))
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    model = DistributedDataParallel(linear)
    optimizer = torch.optim.SGD(model.parameters(), lr=5)
    for _ in range(n_epochs):
        for batch in training:
            loss = torch.nn.functional.cross_entropy(model(features(batch["X"])), batch["labels"])
            optimizer.zero_grad()
            loss.backward()  # averages the gradients of all ranks
            optimizer.step()

    with torch.no_grad():
        right = [linear(features(batch["X"])).argmax(dim=1) == batch["labels"] for batch in held_out]
    return torch.cat(right).float().mean().item()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    accuracy = train(*sys.argv[1:3], n_epochs=int(sys.argv[3]) if len(sys.argv) > 3 else 20)
    print(f"rank {dist.get_rank()}: accuracy on held-out cells: {accuracy:.3f}")
    dist.destroy_process_group()
