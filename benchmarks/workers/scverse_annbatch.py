"""Measure scverse annbatch, in a separate environment, as it has the import name of this package."""

from __future__ import annotations

import anndata as ad
import numpy as np
import zarr
from anndata.io import read_elem, sparse_dataset
from serve import serve

from annbatch import DatasetCollection, Loader
from annbatch.samplers import RandomSampler

zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})  # as its documentation advises


def open_task(task):
    if task["kind"] == "convert":
        return lambda: _convert(task)
    loader = _open_loader(task)
    return lambda: sum(batch["X"].shape[0] for batch in loader)


def _open_loader(task):
    sampler = RandomSampler(
        task["chunk_size"],
        task["window"] // task["chunk_size"],
        task["batch_size"],
        num_samples=task["rows"],
        rng=np.random.default_rng(0),
    )
    loader = Loader(batch_sampler=sampler, preload_to_gpu=task.get("gpu", False))
    if task["kind"] == "dense":
        return loader.add_dataset(zarr.open_array(task["store"], mode="r"))
    if "matrix" in task:
        return loader.add_dataset(sparse_dataset(zarr.open_group(task["matrix"], mode="r")))
    collection = DatasetCollection(task["store"], mode="r")
    columns = task.get("obs_columns")
    if not task["obs"]:
        return loader.add_datasets([sparse_dataset(group["X"]) for group in collection])
    if columns is None:
        return loader.use_collection(collection)
    return loader.use_collection(collection, load_adata=lambda group: _with_columns(group, columns))


def _with_columns(group, columns):
    obs = read_elem(group["obs"])[columns]
    return ad.AnnData(X=sparse_dataset(group["X"]), obs=obs, var=read_elem(group["var"]))


def _convert(task):
    DatasetCollection(task["store"]).add_adatas(task["h5ad"], rng=np.random.default_rng(0))
    return sum(group["X"].attrs["shape"][0] for group in DatasetCollection(task["store"], mode="r"))


if __name__ == "__main__":
    serve(open_task)
