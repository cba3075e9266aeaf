"""The data module of Lightning: splits, labels, ranks, and training that goes on exactly where it stopped."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from annbatch import DatasetCollection, Loader
from annbatch.errors import MissingDependencyError
from annbatch.samplers import Split, split

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed", exc_type=ImportError)

from annbatch_torch import LightningDataModule  # noqa: E402  # needs both

SIZES = {"batch_size": 8, "chunk_size": 4, "preload_nchunks": 4}
PROGRAM = """
import json, os, sys
import torch, lightning.pytorch as lightning
from annbatch.samplers import Split
from annbatch_torch import LightningDataModule

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {"train": [], "valid": []}

    def training_step(self, batch, _):
        self.seen["train"].append([self.current_epoch, batch["index"].tolist()])
        return (batch["X"] * self.weight).mean() + batch["labels"].float().mean() * 0

    def validation_step(self, batch, _):
        self.seen["valid"].append([self.current_epoch, batch["index"].tolist()])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def fit(folder, devices, name, path=None):
    data = LightningDataModule(
        f"{folder}/all.zarr", split=Split.load(f"{folder}/split.json"), labels="kind", return_index=True, densify=True,
        batch_size=8, chunk_size=4, preload_nchunks=4, seed=3,
    )
    every = lightning.callbacks.ModelCheckpoint(dirpath=f"{folder}/{devices}", every_n_train_steps=3, save_top_k=-1)
    trainer = lightning.Trainer(
        max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        num_sanity_val_steps=0, devices=devices, strategy="ddp" if devices > 1 else "auto",
        callbacks=[every] if path is None else [], enable_checkpointing=path is None,
    )
    model = Model()
    trainer.fit(model, datamodule=data, ckpt_path=path)
    with open(f"{folder}/{name}{trainer.global_rank}.json", "w") as file:
        json.dump(model.seen, file)

if __name__ == "__main__":
    fit(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lightning")
    kinds = pd.Categorical(np.tile(["b", "a", "c"], 40), categories=["c", "b", "a"])
    obs = pd.DataFrame({"kind": kinds, "dose": np.arange(120.0)}, index=[f"c{row}" for row in range(120)])
    ad.AnnData(np.arange(240, dtype="f4").reshape(120, 2), obs=obs).write_h5ad(folder / "cells.h5ad")
    collection = DatasetCollection(folder / "all.zarr").add_adatas([folder / "cells.h5ad"], seed=0, progress=False)
    split(collection.n_obs, {"train": 0.8, "valid": 0.2}, seed=0, chunk_size=8).save(folder / "split.json")
    (folder / "program.py").write_text(PROGRAM)
    return folder


def run(folder, devices: int, name: str, *path: str) -> list[dict]:
    """Train, several ranks in processes of their own; return the rows that each rank saw."""
    if devices == 1:
        runpy.run_path(str(folder / "program.py"))["fit"](folder, devices, name, *path)
        return [json.loads((folder / f"{name}0.json").read_text())]
    command = [sys.executable, str(folder / "program.py"), str(folder), str(devices), name, *path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{name}{rank}.json").read_text()) for rank in range(devices)]


def rows(seen: dict, kind: str, epoch: int) -> list[int]:
    return [row for of, batch in seen[kind] if of == epoch for row in batch]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::lightning")
@pytest.mark.parametrize("devices", [1, 2])
def test_ranks_share_epochs_and_a_checkpoint_goes_on_exactly(folder, devices):
    parts = {name: np.asarray(part).tolist() for name, part in Split.load(folder / "split.json").items()}
    ranks = run(folder, devices, "seen")
    for epoch in range(2):
        trained = [row for seen in ranks for row in rows(seen, "train", epoch)]
        validated = sorted(row for seen in ranks for row in rows(seen, "valid", epoch))
        assert len(set(trained)) == len(trained) == 96
        assert set(trained) == set(parts["train"])
        assert validated == parts["valid"]
    assert rows(ranks[0], "train", 0) != rows(ranks[0], "train", 1)

    resumed = run(folder, devices, "resumed", str(folder / f"{devices}" / "epoch=0-step=3.ckpt"))

    for before, after in zip(ranks, resumed, strict=True):
        assert rows(after, "train", 0) == rows(before, "train", 0)[3 * 8 :]
        assert rows(after, "train", 1) == rows(before, "train", 1)


def test_labels_are_codes_of_classes(folder):
    data = LightningDataModule(folder / "all.zarr", labels="kind", obs_columns="dose", **SIZES)
    assert data.classes.tolist() == ["c", "b", "a"]
    loader = data.train_dataloader()
    assert data.train_dataloader() is loader
    assert isinstance(loader, Loader)

    batch = data.on_before_batch_transfer(next(iter(loader)), 0)

    assert batch["labels"].dtype == torch.int64
    assert torch.equal(batch["labels"], torch.tensor([1, 2, 0])[batch["obs"]["dose"].long() % 3])
    torch.nn.functional.cross_entropy(torch.zeros(8, 3), batch["labels"])
    chosen = LightningDataModule(folder / "all.zarr", labels="kind", classes=["a", "b", "c"])
    assert chosen.classes.tolist() == chosen.train_dataloader().classes.tolist() == ["a", "b", "c"]
    data.teardown("fit")


def test_predictions_are_of_all_rows_in_stored_order(folder):
    data = LightningDataModule(DatasetCollection(folder / "all.zarr"), **SIZES)
    index = [row for batch in data.predict_dataloader() for row in batch["index"].tolist()]
    assert index == list(range(120))
    assert (data.val_dataloader(), data.test_dataloader()) == ([], [])
    data.teardown("predict")


def test_wrong_arguments_are_told(folder):
    with pytest.raises(TypeError, match="Column 'dose' of `obs` must be categories"):
        LightningDataModule(folder / "all.zarr", labels="dose")
    with pytest.raises(KeyError, match="kinds"):
        LightningDataModule(folder / "all.zarr", labels="kinds")
    with pytest.raises(KeyError, match=r"`split` must have rows named 'train', got \['test'\]"):
        LightningDataModule(folder / "all.zarr", split={"test": slice(0, 5)}).train_dataloader()
    with pytest.raises(FileNotFoundError):
        LightningDataModule(folder / "nothing.zarr")


def test_without_lightning_the_error_tells_the_command(monkeypatch):
    import annbatch_torch

    monkeypatch.delitem(sys.modules, "annbatch_torch._lightning")
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)
    with pytest.raises(MissingDependencyError, match="needs Lightning: `pip install lightning`"):
        annbatch_torch.LightningDataModule  # noqa: B018 - looking it up is the test
