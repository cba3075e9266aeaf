"""Libraries that lack functions: stores are written and read through other libraries, and hold the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import ctypes

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name.startswith({missing!r}):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library

import anndata as ad, numpy as np, pandas as pd, scipy.sparse as sp, zarr
from zarr.codecs import Crc32cCodec, GzipCodec, ZstdCodec
from annbatch import DatasetCollection, Loader

counts = np.random.default_rng(0).poisson(0.5, (600, 400)).astype("float32")
counts[:, 0] = 1 + np.arange(600)
ad.AnnData(sp.csr_matrix(counts), obs=pd.DataFrame(index=[str(i) for i in range(600)])).write_h5ad("cells.h5ad")
collection = DatasetCollection("cells.zarr").add_adatas(["cells.h5ad"], progress=False)

order = dict(batch_size=100, chunk_size=1, preload_nchunks=200, shuffle=True)
for options in (dict(), dict(densify=True), dict(var_names=["3", "0"], densify=True)):
    for batch in Loader(**order, **options).use_collection(collection):
        x = batch["X"] if options else batch["X"].toarray()
        columns = [3, 0] if "var_names" in options else slice(None)
        rows = x[:, -1 if "var_names" in options else 0].astype(int) - 1
        np.testing.assert_array_equal(x, counts[rows][:, columns])

for codec in (None, ZstdCodec(), GzipCodec(), Crc32cCodec()):
    dense = zarr.create_array("dense.zarr", data=counts, chunks=(50, 400), compressors=codec, overwrite=True)
    for batch in Loader(**order).add_dataset(dense):
        np.testing.assert_array_equal(batch["X"], counts[batch["X"][:, 0].astype(int) - 1])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("LZ4", "in larger blocks"),
        ("blosc2", "through zarr's codecs"),
        ("ZSTD", "The installed blosc2 exports no decoder of zstd"),
        ("libdeflate", "The installed deflate exports no decoder of gzip"),
        ("crc32c", "The installed google-crc32c exports no decoder of crc32c"),
    ],
)
def test_stores_are_written_and_read_without_functions_of_libraries(tmp_path: Path, missing: str, told: str) -> None:
    code = [sys.executable, "-c", CODE.format(missing=missing)]
    ran = subprocess.run(code, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    assert ran.returncode == 0, ran.stderr
    assert told in ran.stderr
