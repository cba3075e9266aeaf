"""A data module of Lightning; its base class needs Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningDataModule as Base

from annbatch import DatasetCollection, Loader
from annbatch.samplers import DistributedSampler, RandomSampler, SequentialSampler

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import pandas as pd

    from annbatch.abc import Sampler

_VALIDATION = ("valid", "val", "validation")


class LightningDataModule(Base):
    """Trains, validates, tests and predicts on the rows of a collection, on any number of ranks.

    The dataloaders are :class:`annbatch.Loader` themselves, without a ``DataLoader`` around them: they read ahead on
    threads, Lightning saves their position in its checkpoints, and ``trainer.fit(..., ckpt_path=...)`` continues with
    exactly the batches that were to come, in the middle of an epoch, too.

    Parameters
    ----------
    collection
        Collection, or its path or URL.
    split
        Rows by name, as :func:`annbatch.samplers.split` returns them: ``train``, ``valid`` (or ``val``), ``test`` and
        ``predict``. Without it all rows are trained on; without ``predict`` all rows are predicted.
    labels
        Column of ``obs``, as for :class:`annbatch.Loader`: ``batch["labels"]`` has its numbers as int64, -1 where it is
        missing, and ``classes`` the names.
    batch_size, chunk_size, preload_nchunks
        As for :class:`annbatch.Loader`. On several ranks, ``batch_size`` is that of each.
    seed
        Seed of the order of training rows, the same on all ranks.
    **settings
        Further arguments of :class:`annbatch.Loader`, such as ``densify=True`` or ``transform``.

    Attributes
    ----------
    classes
        Names of the labels; the code in a batch is the position here.

    Notes
    -----
    If ``torch.distributed`` runs when Lightning asks for a dataloader, its batches are shared by the ranks: in training
    each has as many, in evaluation every row is on one rank. Lightning's ``use_distributed_sampler`` has no effect.

    Examples
    --------
    ::

        parts = annbatch.samplers.split(
            collection, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=0
        )
        data = LightningDataModule(
            collection, split=parts, labels="cell_type", batch_size=4096, densify=True
        )
        trainer = lightning.Trainer(max_epochs=10)
        trainer.fit(model, datamodule=data, ckpt_path="last.ckpt")
    """

    def __init__(
        self,
        collection: DatasetCollection | str | os.PathLike[str],
        *,
        split: Mapping[str, Any] | None = None,
        labels: str | None = None,
        batch_size: int = 1,
        chunk_size: int | None = None,
        preload_nchunks: int | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        if not isinstance(collection, DatasetCollection):
            collection = DatasetCollection(collection, mode="r")
        self._collection = collection
        self._parts = {"train": slice(0, None)} if split is None else dict(split)
        self._seed = seed
        sizes = Loader(batch_size=batch_size, chunk_size=chunk_size, preload_nchunks=preload_nchunks)
        identity = sizes.batch_sampler.identity()
        self._sizes = [identity[name] for name in ("chunk_size", "preload_nchunks", "batch_size")]
        self._settings = {"to": "torch", **settings}
        if labels is not None:
            self._settings = {"obs_as": "arrays", "obs_columns": [labels], "labels": labels, **self._settings}
        self._loaders: dict[str, Loader] = {}
        self.classes = None if labels is None else self._classes(labels)

    def _classes(self, labels: str) -> pd.Index:
        names = self._settings.get("classes")
        with Loader(self._collection, keys=["obs"], obs_columns=[], labels=labels, classes=names) as loader:
            return loader.classes

    def train_dataloader(self) -> Loader:
        """Return the loader of the rows to train on, shuffled; always the same, which counts its epochs."""
        return self._loader("train", RandomSampler(*self._sizes, mask=self._rows("train"), rng=self._seed))

    def val_dataloader(self) -> Loader | list[Any]:
        """Return the loader of the rows to validate on, in stored order; nothing if there are none."""
        return self._in_order(next((name for name in _VALIDATION if name in self._parts), ""))

    def test_dataloader(self) -> Loader | list[Any]:
        """Return the loader of the rows to test on, in stored order; nothing if there are none."""
        return self._in_order("test")

    def predict_dataloader(self) -> Loader:
        """Return the loader of the rows to predict, in stored order; batches have their row numbers in ``index``."""
        rows = self._parts.get("predict", slice(0, None))
        return self._loader("predict", SequentialSampler(*self._sizes, mask=rows), return_index=True)

    def teardown(self, stage: str) -> None:
        """Stop the threads of the loaders; they start again when they are needed."""
        for loader in self._loaders.values():
            loader.close()

    def _rows(self, part: str) -> Any:
        if part not in self._parts:
            raise KeyError(f"`split` must have rows named {part!r}, got {sorted(self._parts)}.")
        return self._parts[part]

    def _in_order(self, part: str) -> Loader | list[Any]:
        if part not in self._parts:
            return []
        return self._loader(part, SequentialSampler(*self._sizes, mask=self._parts[part]))

    def _loader(self, part: str, sampler: Sampler, **more: Any) -> Loader:
        if part not in self._loaders:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                # Ranks that train wait for each other in every step; each evaluates what it has.
                sampler = DistributedSampler(sampler, dist_info="torch", enforce_equal_batches=part == "train")
            self._loaders[part] = Loader(self._collection, batch_sampler=sampler, **(self._settings | more))
        return self._loaders[part]
