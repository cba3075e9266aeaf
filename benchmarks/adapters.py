"""What handing a batch over costs on the host: ``python benchmarks/adapters.py``.

Prints microseconds a batch of 4,096 cells for each framework that is installed, and milliseconds to make it dense,
beside what SciPy and PyTorch take for the same. Best of several runs; other work on the machine shows.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

import numpy as np

from annbatch._adapters import find_adapter
from annbatch.abc import Adapter
from annbatch.batch import CSR
from annbatch.errors import MissingDependencyError

N_ROWS, N_COLUMNS, NNZ_PER_ROW = 4_096, 20_000, 1_600


def make_batch(adapter: Adapter) -> CSR:
    rng = np.random.default_rng(0)
    nnz = N_ROWS * NNZ_PER_ROW
    capacity = adapter.capacity(nnz)
    data = adapter.allocate(4 * capacity).view(np.float32)
    indices = adapter.allocate(4 * capacity).view(np.int32)
    indptr = adapter.allocate(4 * (N_ROWS + 1)).view(np.int32)
    data[:nnz], data[nnz:] = rng.poisson(2, nnz), 0
    columns = rng.integers(N_COLUMNS, size=(N_ROWS, NNZ_PER_ROW))
    columns.sort(axis=1)
    indices[:nnz], indices[nnz:] = columns.ravel(), N_COLUMNS
    indptr[:] = np.arange(0, nnz + 1, NNZ_PER_ROW)
    return CSR(data, indices, indptr, (N_ROWS, N_COLUMNS))


def seconds(call: Callable[[], object], *, number: int, repeat: int) -> float:
    call()
    return min(timeit.repeat(call, number=number, repeat=repeat)) / number


def report(adapter: Adapter) -> None:
    batch = make_batch(adapter)
    csr = seconds(lambda: adapter.csr(batch), number=200, repeat=10)
    dense = seconds(lambda: adapter.dense(batch.data), number=200, repeat=10)
    densify = seconds(lambda: adapter.densify(batch), number=1, repeat=5)
    print(f"{adapter.name:5}  csr {1e6 * csr:6.1f} us   dense {1e6 * dense:6.1f} us   densify {1e3 * densify:6.1f} ms")
    if adapter.name == "torch":
        others = {"torch's to_dense": adapter.csr(batch).to_dense, "scipy's toarray": batch.to_scipy().toarray}
        for name, other in others.items():
            theirs = seconds(other, number=1, repeat=3)
            print(f"       {name:39} {1e3 * theirs:6.1f} ms, {theirs / densify:.1f} times as long")


def main() -> None:
    for name in ("torch", "jax", "cupy"):
        try:
            adapter = find_adapter(name, None)
        except (MissingDependencyError, ValueError) as error:
            print(f"{name:5}  skipped: {error}")
            continue
        report(adapter)


if __name__ == "__main__":
    main()
