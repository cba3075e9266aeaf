"""Measure this package, SciPy and h5py on cells without conversion."""

from __future__ import annotations

import anndata as ad
import h5py
import numpy as np
from serve import serve

from annbatch import Loader
from annbatch.samplers import RandomSampler


def open_task(task):
    if task["by"] == "annbatch":
        return _loader(task)
    return _scipy(task) if task["kind"] == "memory" else _h5py(task)


def _loader(task):
    memory = task["kind"] == "memory"
    chunk_size = 1 if memory else min(512, task["window"])
    sampler = RandomSampler(
        chunk_size,
        task["window"] // chunk_size,
        task["batch_size"],
        num_samples=task["rows"],
        rng=np.random.default_rng(0),
    )
    loader = Loader(batch_sampler=sampler, keys="X")
    loader.add_adata(_in_memory(task) if memory else h5py.File(task["h5ad"], "r"))
    return lambda: sum(batch["X"].shape[0] for batch in loader)


def _scipy(task):
    x, rng = _in_memory(task).X, np.random.default_rng(0)

    def sample():
        rows = rng.permutation(x.shape[0])[: task["rows"]]
        return sum(x[rows[i : i + task["batch_size"]]].shape[0] for i in range(0, len(rows), task["batch_size"]))

    return sample


def _h5py(task):
    group = h5py.File(task["h5ad"], "r")["X"]
    indptr = group["indptr"][:]
    step = min(4_096, task["window"])

    def sample():
        for start in range(0, task["rows"], step):
            first, last = int(indptr[start]), int(indptr[min(start + step, task["rows"])])
            for name in ("data", "indices"):
                group[name][first:last]
        return task["rows"]

    return sample


def _in_memory(task):
    with h5py.File(task["h5ad"], "r") as file:
        x = ad.io.sparse_dataset(file["X"])[: task["n_obs"]]
    return ad.AnnData(x)


if __name__ == "__main__":
    serve(open_task)
