"""A softmax regression in Lightning: ``python examples/torch_lightning.py cells.zarr cell_type``."""

from __future__ import annotations

import sys
from typing import Any

import lightning
import torch

from annbatch import DatasetCollection
from annbatch.samplers import split
from annbatch_torch import LightningDataModule


class Classifier(lightning.LightningModule):
    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(n_features, n_classes)
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.log1p(x.float())
        return self.linear(x / x.norm(dim=1, keepdim=True).clamp(min=1))

    def training_step(self, batch: dict[str, Any], number: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self(batch["X"]), batch["labels"])

    def validation_step(self, batch: dict[str, Any], number: int) -> None:
        right = self(batch["X"]).argmax(dim=1) == batch["labels"]
        self.log("accuracy", right.float().mean(), batch_size=len(right))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=5)


def train(store: str, label: str, *, n_epochs: int = 20, seed: int = 0) -> float:
    """Train on four fifths of a shuffled collection and return the accuracy on the rest."""
    collection = DatasetCollection(store, mode="r")
    parts = split(collection, {"train": 0.8, "test": 0.2}, seed=seed)
    data = LightningDataModule(
        collection,
        split={"train": parts["train"], "valid": parts["test"]},
        labels=label,
        densify=True,
        batch_size=64,
        chunk_size=8,
        preload_nchunks=16,
        seed=seed,
    )

    model = Classifier(collection.n_vars, len(data.classes))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=n_epochs, enable_model_summary=False, num_sanity_val_steps=0, **quiet)
    trainer.fit(model, datamodule=data)
    (result,) = trainer.validate(model, datamodule=data, verbose=False)
    return result["accuracy"]


if __name__ == "__main__":
    print(f"accuracy on held-out cells: {train(*sys.argv[1:]):.3f}")
