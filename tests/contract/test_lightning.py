"""A data module of Lightning that trains and validates on copies of one loader, as the one of scvi-tools does."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest

from annbatch import Loader
from annbatch.samplers import RandomSampler, SequentialSampler

torch = pytest.importorskip("torch", reason="PyTorch is not installed", exc_type=ImportError)
lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed", exc_type=ImportError)

TRAINING, VALIDATION = slice(16, 96), slice(0, 16)


def cells() -> Loader:
    with pytest.warns(DeprecationWarning, match="to_torch"):
        loader = Loader(batch_size=8, chunk_size=4, preload_nchunks=4, to_torch=True, return_index=True)
    obs = pd.DataFrame({"kind": pd.Categorical(np.tile(["a", "b"], 48))}, index=[f"cell{row}" for row in range(96)])
    return loader.add_dataset(np.arange(96, dtype="f4")[:, None], obs=obs)


class Cells(lightning.LightningDataModule):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset
        self.kinds = np.unique(np.concatenate([obs["kind"].values for obs in dataset._obs]).astype(str)).tolist()
        self.batch_size = dataset._batch_sampler.batch_size
        self.train_loaders = []

    def _loader(self, sampler, mask):
        loader = copy.copy(self.dataset)
        loader._batch_sampler = sampler(chunk_size=4, preload_nchunks=4, batch_size=self.batch_size, mask=mask)
        return loader

    def train_dataloader(self):
        self.train_loaders.append(self._loader(RandomSampler, TRAINING))
        return self.train_loaders[-1]

    def val_dataloader(self):
        return self._loader(SequentialSampler, VALIDATION)

    def on_before_batch_transfer(self, batch, dataloader_idx):
        kinds = [self.kinds.index(kind) for kind in batch["obs"]["kind"].values.astype(str)]
        return {"X": batch["X"].float(), "index": batch["index"], "kind": torch.tensor(kinds)}


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = {"training": [], "validation": []}

    def training_step(self, batch, _):
        assert (batch["X"][:, 0] == torch.as_tensor(batch["index"])).all()
        assert (batch["kind"] == torch.as_tensor(batch["index"]) % 2).all()
        self.seen["training"].append((self.current_epoch, batch["index"].tolist()))
        return (batch["X"] * self.weight).mean()

    def validation_step(self, batch, _):
        self.seen["validation"].append((self.current_epoch, batch["index"].tolist()))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module: Cells, path=None, **settings) -> Model:
    model = Model()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=3, num_sanity_val_steps=1, **quiet, **settings)
    trainer.fit(model, datamodule=module, ckpt_path=path)
    return model


def rows(model: Model, kind: str, epoch: int) -> list[int]:
    return [row for of, batch in model.seen[kind] if of == epoch for row in batch]


@pytest.mark.filterwarnings("ignore")  # Lightning's: workers, checkpoints within an epoch, what it imports
def test_epochs_are_whole_and_a_checkpoint_goes_on_exactly(tmp_path):
    """Also after a validation in the middle of an epoch, which reads by another copy of the same loader."""
    every = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=7, save_top_k=-1)
    module = Cells(cells())
    model = fit(module, callbacks=[every], val_check_interval=5)
    epochs = [rows(model, "training", epoch) for epoch in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(16, 96))] * 3
    assert epochs[0] != epochs[1] != epochs[2]
    for epoch in range(3):
        assert set(rows(model, "validation", epoch)) == set(range(16))
    (loader,) = module.train_loaders
    for epoch, of_epoch in enumerate(epochs):
        loader.set_epoch(epoch)
        assert [row for batch in loader for row in batch["index"].tolist()] == of_epoch

    for step, epoch in ((7, 0), (14, 1), (28, 2)):
        resumed = fit(Cells(cells()), path=tmp_path / f"epoch={epoch}-step={step}.ckpt", enable_checkpointing=False)
        assert rows(resumed, "training", epoch) == epochs[epoch][(step - 10 * epoch) * 8 :]
        for later in range(epoch + 1, 3):
            assert rows(resumed, "training", later) == epochs[later]
