"""Measure what handing batches to frameworks costs on the host: ``python -m benchmarks.adapters``.

Two tables, for batches of 4,096 cells x 20,000 genes with 1,600 non-zeros per cell, float32:

1. microseconds per batch of each framework's adapter, compared with reading the batch from memory, the fastest kind of
   reading;
2. milliseconds per dense batch, elapsed and summed over cores: by the loader, with one thread per core, from memory and
   from a compact store; and by ``scipy.toarray``, with one thread, and torch's ``to_dense``, from the same CSR in
   memory. These two write to fresh memory, as in a training loop, whose pages the system has to clear first; the loader
   reuses memory. So ``scipy.toarray`` also runs with reused memory (``out``).

Contenders take turns; figures are medians over rounds. ``--quick`` shows that all works, and measures nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

import anndata as ad
import numpy as np
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch._loading.adapters import find_adapter
from annbatch.abc import Adapter
from annbatch.batch import CSR
from annbatch.errors import MissingDependencyError

BATCH, N_COLUMNS, NNZ_PER_ROW = 4_096, 20_000, 1_600
BATCHES = 4

Contenders = dict[str, Callable[[], None]]


def make_cells(n_rows: int, n_columns: int, nnz_per_row: int) -> sparse.csr_matrix:
    """Return counts; the columns of a row are drawn one from each of equal stretches."""
    rng = np.random.default_rng(0)
    step = n_columns / nnz_per_row
    columns = (np.arange(nnz_per_row) * step + rng.random((n_rows, nnz_per_row)) * step).astype(np.int32)
    data = rng.poisson(1, columns.size).astype(np.float32) + 1
    indptr = np.arange(0, columns.size + 1, nnz_per_row)
    return sparse.csr_matrix((data, columns.ravel(), indptr), shape=(n_rows, n_columns))


def medians(contenders: Contenders, *, rounds: int) -> dict[str, tuple[float, float]]:
    """Return seconds per call of each contender, elapsed and summed over cores, after one call to warm up."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, call in contenders.items():
            begin, begin_of_cores = time.perf_counter(), time.process_time()
            call()
            if number:
                seconds[name].append((time.perf_counter() - begin, time.process_time() - begin_of_cores))
    return {
        name: (median(wall for wall, _ in each), median(cores for _, cores in each)) for name, each in seconds.items()
    }


def adapters() -> list[Adapter]:
    """Return the adapters whose framework is installed and works here."""
    found = []
    for name in ("torch", "jax", "cupy"):
        with suppress(MissingDependencyError, ValueError):
            found.append(find_adapter(name, None))
    return found


def laid_out(cells: sparse.csr_matrix, adapter: Adapter) -> CSR:
    """Return a batch in the adapter's memory, as the loader lays it out."""
    nnz = cells.nnz
    capacity = adapter.capacity(nnz)
    data, indices = (adapter.allocate(4 * capacity).view(dtype) for dtype in (np.float32, np.int32))
    indptr = adapter.allocate(4 * (cells.shape[0] + 1)).view(np.int32)
    data[:nnz], data[nnz:] = cells.data, 0
    indices[:nnz], indices[nnz:] = cells.indices, cells.shape[1]
    indptr[:] = cells.indptr
    return CSR(data, indices, indptr, cells.shape)


def epoch(loader: Loader) -> Callable[[], None]:
    """Return a function that reads all batches once and keeps none."""

    def read() -> None:
        for _ in loader:
            pass

    return read


def repeated(call: Callable[[], object], times: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(times):
            call()

    return repeat


def hand_over(cells: sparse.csr_matrix, batch: int, rounds: int) -> None:
    settings = {"batch_size": batch, "chunk_size": 32, "preload_nchunks": batch // 32, "shuffle": True, "seed": 0}
    contenders: Contenders = {"reading": epoch(Loader(**settings).add_dataset(cells))}
    for adapter in adapters():
        host = laid_out(cells[:batch], adapter)
        contenders[f"{adapter.name}, sparse"] = repeated(lambda a=adapter, h=host: a.csr(h), 100)
        contenders[f"{adapter.name}, dense"] = repeated(lambda a=adapter, h=host: a.dense(h.data), 100)
    found = medians(contenders, rounds=rounds)
    reading = found.pop("reading")[0] / BATCHES
    print(f"\nHanding over a batch; reading it from memory takes {1e6 * reading:,.0f} us:\n")
    for name, (seconds, _) in found.items():
        print(f"  {name:16}{1e6 * seconds / 100:8.1f} us {seconds / 100 / reading:8.2%} of reading")


def densify(cells: sparse.csr_matrix, folder: Path, batch: int, rounds: int) -> None:
    ad.AnnData(cells).write_h5ad(folder / "cells.h5ad")
    collection = DatasetCollection(folder / "cells.zarr").add_adatas([folder / "cells.h5ad"], progress=False)
    settings = {"batch_size": batch, "chunk_size": 32, "preload_nchunks": batch // 32, "shuffle": True, "seed": 0}
    dense = {**settings, "densify": True}
    one = cells[:batch]
    out = np.empty(one.shape, np.float32)
    contenders: Contenders = {
        "annbatch, from memory": epoch(Loader(**dense).add_dataset(cells)),
        "annbatch, from a compact store": epoch(Loader(**dense).use_collection(collection)),
        "scipy.toarray": repeated(one.toarray, BATCHES),
        "scipy.toarray, reused memory": repeated(lambda: one.toarray(out=out), BATCHES),
    }
    for adapter in adapters():
        if adapter.name == "torch":
            contenders["torch's to_dense"] = repeated(adapter.csr(laid_out(one, adapter)).to_dense, BATCHES)
    contenders["writing the same bytes"] = repeated(lambda: out.fill(0), BATCHES)
    found = medians(contenders, rounds=rounds)
    print("\nA dense batch:\n")
    others = [name for name in found if name.startswith(("scipy", "torch"))]
    for name, (seconds, of_cores) in found.items():
        ratios = ", ".join(f"{found[other][0] / seconds:.1f}x {other}" for other in others)
        times = f"{1e3 * seconds / BATCHES:8.1f} ms, {1e3 * of_cores / BATCHES:6.1f} summed over cores"
        print(f"  {name:32}{times}   {ratios if name.startswith('annbatch') else ''}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adapters", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data, one round")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    quick = arguments.quick
    batch, rounds = (64, 1) if quick else (BATCH, arguments.rounds)
    cells = make_cells(BATCHES * batch, 500 if quick else N_COLUMNS, 40 if quick else NNZ_PER_ROW)
    hand_over(cells, batch, rounds)
    with tempfile.TemporaryDirectory() as folder:
        densify(cells, Path(folder), batch, rounds)


if __name__ == "__main__":
    main()
