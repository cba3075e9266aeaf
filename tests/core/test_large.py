"""A collection of a billion rows costs no more to open than one of ten: metadata as it would be, most files left out.

zarr takes a file that is not there for one full of the fill value, so that the rows are empty; everything that is done
for them is done as for full ones. The files of `indptr` are there, as a matrix without them is refused: of zeros, which
take no room on a disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import write_elem

from annbatch._format.shard_index import format_index

N_OBS, CHUNK = 10**9, 65_536

MEASURE = """
import json, resource, sys
import anndata
from annbatch import DatasetCollection, Loader

idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
collection = DatasetCollection(sys.argv[1], mode="r")
loader = Loader(batch_size=4096, chunk_size=512, preload_nchunks=32, shuffle=True, seed=0, return_index=True)
batch = next(iter(loader.use_collection(collection)))
print(json.dumps({
    "n_obs": collection.n_obs, "shape": batch["X"].shape, "columns": list(batch["obs"].columns),
    "rows": len(set(batch["index"].tolist())), "last": int(batch["index"].max()),
    "kilobytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle,
}))
"""


@pytest.fixture
def billion(tmp_path: Path) -> Path:
    root = zarr.open_group(tmp_path / "cells.zarr", mode="w", zarr_format=3)
    root.attrs.update({"encoding-type": "annbatch-preshuffled", "encoding-version": "0.1.0"})
    dataset = root.create_group("dataset_0", attributes={"encoding-type": "anndata", "encoding-version": "0.1.0"})
    csr = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [N_OBS, 100]}
    x = dataset.create_group("X", attributes=csr)
    for name, shape, dtype in [
        ("data", 1600 * N_OBS, "u2"),
        ("indices", 1600 * N_OBS, "u1"),
        ("indptr", N_OBS + 1, "i8"),
    ]:
        x.create_array(name, shape=(shape,), dtype=dtype, chunks=(CHUNK,), shards=(1000 * CHUNK,), compressors=None)
    x["indptr"][N_OBS] = 1600 * N_OBS  # the last row has all values
    chunks = [(i * 8 * CHUNK, 8 * CHUNK) for i in range(1000)]
    for number in range(N_OBS // (1000 * CHUNK)):
        with (tmp_path / f"cells.zarr/dataset_0/X/indptr/c/{number}").open("wb") as file:
            file.seek(1000 * 8 * CHUNK)
            file.write(format_index(chunks, 1000))
    frame = {
        "encoding-type": "dataframe",
        "encoding-version": "0.2.0",
        "_index": "_index",
        "column-order": ["type", "n"],
    }
    obs = dataset.create_group("obs", attributes=frame)
    strings = {"encoding-type": "string-array", "encoding-version": "0.2.0"}
    obs.create_array("_index", shape=(N_OBS,), dtype=str, chunks=(65_536,), attributes=strings)
    array = {"encoding-type": "array", "encoding-version": "0.2.0"}
    obs.create_array("n", shape=(N_OBS,), dtype="float32", chunks=(65_536,), attributes=array)
    categorical = {"encoding-type": "categorical", "encoding-version": "0.2.0", "ordered": False}
    type_ = obs.create_group("type", attributes=categorical)
    type_.create_array("codes", shape=(N_OBS,), dtype="int8", chunks=(65_536,), attributes=array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata's, of a default that it is about to change
        write_elem(type_, "categories", np.array(["a", "b"], dtype=object))
        write_elem(dataset, "var", pd.DataFrame(index=[f"gene{i}" for i in range(100)]))
    return tmp_path / "cells.zarr"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="measures memory by getrusage, which Windows lacks")
def test_opening_a_billion_rows_takes_little_memory(billion: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(billion)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert result["n_obs"] == N_OBS
    assert result["shape"] == [4096, 100]
    assert result["columns"] == ["type", "n"]
    assert result["rows"] == 4096
    assert result["last"] > N_OBS // 2
    unit = 1024 if sys.platform != "darwin" else 1
    assert result["kilobytes"] * unit < 200e6
