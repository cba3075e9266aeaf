"""Measure this package."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import anndata as ad  # noqa: F401 - imports are not counted, and conversion imports it when it is needed
import numpy as np
import zarr
from serve import serve

from annbatch import DatasetCollection, Loader
from annbatch.abc import Sampler
from annbatch.samplers import PairedSampler, RandomSampler, SetSampler
from annbatch.tokens import GeneformerRanks, ScGPTBins, Vocabulary


def open_task(task):
    if task["kind"] == "convert":
        return _open_conversion(task)
    loader = _open_sets(task) if task["kind"] == "sets" else _open_loader(task)
    if task["kind"] == "sets":
        return lambda: sum(_rows_of(batch) for batch in loader)
    if task.get("take"):
        requests = loader.batch_sampler.sample(loader.n_obs)
        windows = [np.concatenate([np.r_[rows] for rows in request["requests"]]) for request in requests]
        return lambda: sum(loader.take(rows)["X"].shape[0] for rows in windows)
    if "encoder" in task:
        return lambda: sum(len(batch["tokens"]["ids"]) for batch in loader)
    step = task.get("step_seconds", 0.0)

    def sample():
        n_rows = 0
        for batch in loader:
            n_rows += batch["X"].shape[0]
            if step:
                time.sleep(step)
        return n_rows

    return sample


def _open_loader(task):
    sampler = RandomSampler(
        task["chunk_size"],
        task["window"] // task["chunk_size"],
        task["batch_size"],
        replacement=task.get("replacement", False),
        num_samples=task["rows"],
        rng=np.random.default_rng(0),
    )
    options = {name: task[name] for name in ("prefetch", "obs_columns", "obs_as", "direct_io") if name in task}
    if task["kind"] == "dense":
        return Loader(batch_sampler=sampler, **options).add_dataset(zarr.open_array(task["store"], mode="r"))
    if "matrix" in task:
        return Loader(batch_sampler=sampler, **options).add_dataset(zarr.open_group(task["matrix"], mode="r"))
    collection = DatasetCollection(task["store"], mode="r")
    if "panel" in task:
        names = collection.var_names
        options["var_names"] = list(names[:: max(1, len(names) // task["panel"])][: task["panel"]])
    if "encoder" in task:
        encoder = _encoder(task["encoder"], collection.var_names)
        return Loader(batch_sampler=sampler, encoder=encoder, keys="obs", obs_columns=[]).use_collection(collection)
    if task["obs"]:
        return Loader(batch_sampler=sampler, **options).use_collection(collection)
    if "var_names" not in options:
        return Loader(batch_sampler=sampler, **options).add_datasets([group["X"] for group in collection])
    return Loader(batch_sampler=sampler, obs_columns=[], obs_as="arrays", **options).use_collection(collection)


def _encoder(name, genes):
    vocabulary = Vocabulary(["<pad>", "<mask>", "<cls>", "<eos>", *genes])
    if name == "ranks":
        return GeneformerRanks(dict.fromkeys(genes, 2.0), vocabulary, max_len=2_048)
    return ScGPTBins(vocabulary, max_len=1_200)


def _open_sets(task):
    size, n_sets = task["set_size"], task["rows"] // task["set_size"]
    options = {"set_size": size, "sets_per_batch": 16, "group_weights": "uniform", "rng": np.random.default_rng(0)}
    if task["control"] is None:
        sampler = SetSampler(task["group"], n_sets=max(1, n_sets), **options)
    else:
        control = {task["group"]: task["control"]}
        sampler = PairedSampler(task["group"], control=control, n_sets=max(1, n_sets // 2), **options)
    loader = Loader(batch_sampler=sampler, obs_columns=[task["group"]]).use_collection(
        DatasetCollection(task["store"], mode="r")
    )
    if task["plain"]:
        loader = Loader(
            batch_sampler=Plain(loader.batch_sampler, 1 if task["control"] is None else 2), obs_columns=[task["group"]]
        )
        loader.use_collection(DatasetCollection(task["store"], mode="r"))
    return loader


def _rows_of(batch):
    return batch["X"].shape[0] + (batch["control"]["X"].shape[0] if "control" in batch else 0)


class Plain(Sampler):
    """The rows of another sampler's batches, and of their partners, as plain batches of the same size."""

    batch_size, shuffle = None, False

    def __init__(self, sampler, parts):
        self.sets, self.parts = sampler, parts

    def n_batches(self, n_obs):  # noqa: D102
        return self.sets.n_batches(n_obs) * self.parts

    def validate(self, n_obs):  # noqa: D102
        self.sets.validate(n_obs)

    def _sample(self, n_obs):
        for request in self.sets.sample(n_obs):
            partners = request.get("partners", {}).values()
            yield {"requests": request["requests"], "splits": [*request["splits"], *(s for of in partners for s in of)]}


def _open_conversion(task):
    options = {name: task[name] for name in ("layout", "memory_limit") if name in task}
    options |= {"rng": np.random.default_rng(0), "progress": False}
    inputs = task["h5ad"]
    if "collection" in task:
        if not Path(task["collection"]).exists():
            DatasetCollection(task["collection"]).add_adatas(inputs, **options)
        inputs = sorted(Path(task["collection"]).glob("dataset_*"))
    if task.get("reshuffle"):
        shutil.copytree(task["collection"], task["store"])
        return lambda: DatasetCollection(task["store"]).reshuffle(**options).n_obs
    return lambda: DatasetCollection(task["store"]).add_adatas(inputs, if_present="add", **options).n_obs


if __name__ == "__main__":
    serve(open_task)
