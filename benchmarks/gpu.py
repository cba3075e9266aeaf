"""Measure how fast batches reach a GPU: ``python -m benchmarks.gpu``, on a machine that has one.

Three tables, for batches of 4,096 cells x 20,000 genes with 1,600 non-zeros per cell:

1. the rate at which pinned host memory is copied to the device, which limits everything else;
2. cells/s into dense batches on the device, per installed framework, and the rate of the compact form as a share of the
   limit; with ``--peer PYTHON``, an environment of scverse annbatch, also its ``preload_to_gpu``;
3. a logistic regression of 100 classes in bfloat16: seconds to fit against loading speed, for slowed-down loaders and
   for ours, and the share of the time in which the device waited.

``--device cpu`` runs the same code on the CPU, ``--quick`` on small data: both show that all works and measure nothing.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch

from annbatch import DatasetCollection, Loader
from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError
from annbatch.transforms import NormalizeLog1p
from annbatch_torch import TorchAdapter

from .adapters import make_cells
from .processes import Worker

N_CLASSES = 100


def pinned_rate(device: torch.device, nbytes: int) -> float:
    """Return bytes/s from pinned host memory to the device: the best of several copies."""
    on_gpu = device.type == "cuda"
    host = torch.zeros(nbytes, dtype=torch.uint8, pin_memory=on_gpu)
    there = torch.empty(nbytes, dtype=torch.uint8, device=device)
    best = float("inf")
    for _ in range(10):
        wait(device)
        begin = time.perf_counter()
        there.copy_(host, non_blocking=True)
        wait(device)
        best = min(best, time.perf_counter() - begin)
    return nbytes / best


def wait(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def adapters(device: torch.device) -> Iterator[tuple[Adapter, str, Callable[[Any], object]]]:
    """Yield each framework's adapter, its narrowest dtype, and a function that waits for one of its arrays."""
    yield TorchAdapter(device, stages=True), "bfloat16", lambda array: wait(device)
    try:
        from annbatch_jax import JaxAdapter

        adapter = JaxAdapter("gpu" if device.type == "cuda" else "cpu", stages=True)
        yield adapter, "bfloat16", lambda array: array.block_until_ready()
    except (MissingDependencyError, ValueError) as error:
        print(f"  jax     skipped: {error}")
    try:
        from annbatch_cupy import CupyAdapter

        yield CupyAdapter(), "float16", lambda array: array.device.synchronize()
    except (MissingDependencyError, ValueError) as error:
        print(f"  cupy    skipped: {error}")


def loaders(collection: DatasetCollection, batch: int, **options: Any) -> Loader:
    """Return a loader of dense, normalised batches, four per window."""
    settings = {"batch_size": batch, "chunk_size": min(512, batch), "shuffle": True, "seed": 0, "densify": True}
    settings |= {"preload_nchunks": 4 * batch // settings["chunk_size"], **options}
    return Loader(**settings).use_collection(collection)


def loading(collection: DatasetCollection, device: torch.device, batch: int, epochs: int, limit: float) -> float:
    """Print cells/s of each framework; return those of PyTorch."""
    bytes_per_cell = (
        sum(
            group["X"][name].dtype.itemsize * group["X"][name].shape[0]
            for group in collection
            for name in ("data", "indices")
        )
        / collection.n_obs
    )
    print(f"\nInto dense batches, {bytes_per_cell:,.0f} bytes per cell on the way:\n")
    found = {}
    for adapter, dtype, ready in adapters(device):
        for transform in (None, NormalizeLog1p(1e4)):
            loader = loaders(
                collection, batch, to=adapter, dtype=dtype if transform is None else None, transform=transform
            )
            last = run(loader, 1)
            ready(last)
            begin = time.perf_counter()
            ready(run(loader, epochs))
            rate = epochs * collection.n_obs / (time.perf_counter() - begin)
            what = f"{adapter.name}, {dtype if transform is None else 'float32, normalised'}"
            print(f"  {what:28}{rate:12,.0f} cells/s {rate * bytes_per_cell / limit:7.1%} of the limit")
            found[what] = rate
    return found["torch, bfloat16"]


def run(loader: Loader, epochs: int) -> Any:
    """Read epochs, keep no batch, and return the last array."""
    for batch in itertools.chain.from_iterable(itertools.repeat(loader, epochs)):
        last = batch["X"]
    return last


def peer(python: str, store: Path, device: torch.device, batch: int, n_obs: int) -> None:
    """Print cells/s of scverse annbatch, whose batches stay sparse."""
    worker = Worker("scverse_annbatch", python, None)
    try:
        task = {"kind": "sparse", "store": str(store), "chunk_size": min(512, batch), "batch_size": batch, "obs": False}
        number = worker.open({**task, "window": 4 * batch, "rows": n_obs, "gpu": device.type == "cuda"})
        worker.sample(number)
        sample = worker.sample(number)
        print(f"  {'scverse annbatch, sparse':28}{sample['amount'] / sample['seconds']:12,.0f} cells/s")
    finally:
        worker.stop()


def regression(collection: DatasetCollection, device: torch.device, batch: int, epochs: int, speed: float) -> None:
    """Print seconds to fit, by loading speed."""
    loader = loaders(
        collection, batch, to=TorchAdapter(device, stages=True), transform=NormalizeLog1p(1e4), return_index=True
    )
    labels = torch.from_numpy(np.random.default_rng(0).integers(N_CLASSES, size=collection.n_obs)).to(device)

    def fit(batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> float:
        model = torch.nn.Linear(loader.n_vars, N_CLASSES, device=device, dtype=torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        wait(device)
        begin = time.perf_counter()
        for x, classes in batches:
            loss = torch.nn.functional.cross_entropy(model(x.to(torch.bfloat16)), classes)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        wait(device)
        return time.perf_counter() - begin

    def loaded(limited_to: float | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        due = time.perf_counter()
        for each in itertools.chain.from_iterable(itertools.repeat(loader, epochs)):
            if limited_to is not None:
                due += len(each["index"]) / limited_to
                time.sleep(max(0, due - time.perf_counter()))
            yield each["X"], labels[torch.from_numpy(each["index"]).to(device, non_blocking=True)]

    first = next(loaded(None))
    n_steps = epochs * len(loader)
    fit(itertools.repeat(first, min(8, n_steps)))  # compiles and warms up
    steps = fit(itertools.repeat(first, n_steps))
    print(f"\nA logistic regression of {N_CLASSES} classes, {n_steps} steps; without loading {steps:.2f} s:\n")
    for share in (1 / 64, 1 / 16, 1 / 4, None):
        seconds = fit(loaded(None if share is None else speed * share))
        rate = epochs * collection.n_obs / seconds
        who = "annbatch" if share is None else f"slowed down to {speed * share:,.0f} cells/s"
        idle = max(0.0, 1 - steps / seconds)
        print(f"  {who:34}{seconds:9.2f} s to fit {rate:12,.0f} cells/s   device idle {idle:6.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small data, one epoch")
    parser.add_argument("--cells", type=int, default=131_072)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment of scverse annbatch and CuPy")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.exit(1, "No CUDA device found; `--device cpu --quick` shows that all works.\n")
    quick = arguments.quick
    shape = (512, 500, 40) if quick else (arguments.cells, 20_000, 1_600)
    batch, epochs = (64, 1) if quick else (4_096, arguments.epochs)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    with tempfile.TemporaryDirectory() as folder:
        file, store = Path(folder, "cells.h5ad"), Path(folder, "cells.zarr")
        ad.AnnData(make_cells(*shape)).write_h5ad(file)
        collection = DatasetCollection(store).add_adatas([file], layout="random_access", progress=False)
        limit = pinned_rate(device, 1 << (20 if quick else 28))
        print(f"{name}, PyTorch {torch.__version__}: pinned memory is copied to the device at {limit / 1e9:.1f} GB/s")
        speed = loading(collection, device, batch, epochs, limit)
        if arguments.peer:
            peer(arguments.peer, store, device, batch, collection.n_obs)
        regression(collection, device, batch, epochs, speed)


if __name__ == "__main__":
    main()
