"""Measure this package."""

from __future__ import annotations

import time

import numpy as np
import zarr
from serve import serve

from annbatch import DatasetCollection, Loader
from annbatch.samplers import RandomSampler


def open_task(task):
    if task["kind"] == "convert":
        return lambda: _convert(task)
    loader = _open_loader(task)
    if task.get("take"):
        requests = loader.batch_sampler.sample(loader.n_obs)
        windows = [np.concatenate([np.r_[rows] for rows in request["requests"]]) for request in requests]
        return lambda: sum(loader.take(rows)["X"].shape[0] for rows in windows)
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
    options = {name: task[name] for name in ("prefetch", "obs_columns", "obs_as") if name in task}
    if task["kind"] == "dense":
        return Loader(batch_sampler=sampler, **options).add_dataset(zarr.open_array(task["store"], mode="r"))
    if "matrix" in task:
        return Loader(batch_sampler=sampler, **options).add_dataset(zarr.open_group(task["matrix"], mode="r"))
    collection = DatasetCollection(task["store"], mode="r")
    if "panel" in task:
        names = collection.var_names
        options["var_names"] = list(names[:: max(1, len(names) // task["panel"])][: task["panel"]])
    if task["obs"]:
        return Loader(batch_sampler=sampler, **options).use_collection(collection)
    if "var_names" not in options:
        return Loader(batch_sampler=sampler, **options).add_datasets([group["X"] for group in collection])
    return Loader(batch_sampler=sampler, obs_columns=[], obs_as="arrays", **options).use_collection(collection)


def _convert(task):
    options = {name: task[name] for name in ("layout", "memory_limit") if name in task}
    collection = DatasetCollection(task["store"]).add_adatas(
        task["h5ad"], rng=np.random.default_rng(0), progress=False, **options
    )
    return collection.n_obs


if __name__ == "__main__":
    serve(open_task)
