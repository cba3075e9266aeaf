"""Measure what bounds a conversion: reading its inputs, encoding the rows, and writing them, each on all cores."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from serve import serve

from annbatch.collection._array_format import codecs_for
from annbatch.collection._resources.direct_io import NewFile
from annbatch.collection._resources.pages import RowMemory
from annbatch.collection._writing.arrays import encoder

CHUNK_ROWS = 64
STRETCH = 1 << 20


def open_task(task):
    n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    stages = {"read": _read, "encode": _encode, "write": _write}
    return stages[task["stage"]](task, ThreadPoolExecutor(n_threads))


def _read(task, pool):
    """Read the files by stretches of 1 MB."""
    stretches = [(path, at) for path in task["h5ad"] for at in range(0, Path(path).stat().st_size, STRETCH)]
    files = {path: os.open(path, os.O_RDONLY) for path in task["h5ad"]}
    n_rows = sum(_n_rows(path) for path in task["h5ad"])

    def read(some):
        buffer = np.empty(STRETCH, np.uint8)
        for path, at in some:
            os.preadv(files[path], [buffer], at)

    def sample():
        list(pool.map(read, [stretches[first : first + 64] for first in range(0, len(stretches), 64)]))
        return n_rows

    return sample


def _encode(task, pool):
    """Encode the rows of the first file, which memory holds in the dtypes in which they are stored."""
    jobs, n_rows = _jobs(task["h5ad"][0])

    def sample():
        for _ in pool.map(lambda job: len(job[0](job[1])[0]), jobs):
            pass
        return n_rows

    return sample


def _write(task, pool):
    """Write the encoded rows of the first file to the disk, until they are there."""
    jobs, n_rows = _jobs(task["h5ad"][0])
    encoded = [np.array(one) for one in pool.map(lambda job: job[0](job[1])[0], jobs)]
    path = Path(task["store"]).with_name("written")

    def sample():
        file = NewFile(path, checksums=True)
        for one in encoded:
            file.append(one)
        file.close(flush=True)
        path.unlink()
        return n_rows

    return sample


def _jobs(path):
    """Return an encoder and its chunk for all chunks of a file's matrix, and the number of rows."""
    with h5py.File(path) as file:
        matrix = file["X"]
        values, columns = matrix["data"][:], matrix["indices"][:]
    n_rows = _n_rows(path)
    chunk = max(1, round(len(values) / max(1, n_rows) * CHUNK_ROWS))
    jobs = []
    for part, is_columns in ((_narrow(values), False), (_narrow(columns), True)):
        codecs = codecs_for(part.dtype, "compact", None)
        encode = encoder(codecs, high=not is_columns, memory=RowMemory(), differences=is_columns)
        encode(part[None, :chunk])  # compiles it
        jobs += [(encode, part[None, first : first + chunk]) for first in range(0, len(part), chunk)]
    return jobs, n_rows


def _narrow(values):
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _n_rows(path):
    with h5py.File(path) as file:
        return len(file["X/indptr"]) - 1


if __name__ == "__main__":
    serve(open_task)
