"""Stores that are replaced: an error, whoever reads their arrays and columns, here or in another process."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import zarr

from annbatch import Loader
from annbatch._arrays.node_folder import NodeFolder
from annbatch.errors import CorruptDataError

N = 12


def write(path: Path, seed: int) -> Path:
    """Write a store whose X only zarr can read, as its chunks are parts of rows."""
    obs = pd.DataFrame(
        {"number": np.arange(N) + seed, "text": [f"{seed}-{i}" for i in range(N)]}, index=[f"c{i}" for i in range(N)]
    )
    group = zarr.create_group(path, zarr_format=3)
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(group, "/", ad.AnnData(obs=obs, shape=(N, 4)))
    x = group.create_array("X", shape=(N, 4), dtype="f4", chunks=(2, 2), attributes=dict(group["obs/number"].attrs))
    x[...] = seed
    return path


def load(path: Path, *keys: str) -> Loader:
    return Loader(batch_size=2, chunk_size=2, preload_nchunks=1, prefetch=0, keys=keys or ("X",)).add_adata(path)


def replace(path: Path) -> None:
    write(path.with_name("other.zarr"), 2)
    shutil.rmtree(path)
    path.with_name("other.zarr").rename(path)


FIRST_ROW = """
import pickle, sys
from pathlib import Path
print(next(iter(pickle.loads(Path(sys.argv[1]).read_bytes())))["X"][0].tolist())
"""


def test_another_process_refuses_an_array_that_was_replaced(tmp_path):
    path = write(tmp_path / "a.zarr", 1)
    loader = load(path)
    assert "zarr," in repr(loader)
    (tmp_path / "loader").write_bytes(pickle.dumps(loader))
    command = [sys.executable, "-c", FIRST_ROW, str(tmp_path / "loader")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[1.0, 1.0, 1.0, 1.0]\n"
    replace(path)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert re.search(r"CorruptDataError: .*a\.zarr/X was replaced, changed or removed since .* pickled", done.stderr)


@pytest.mark.parametrize("keys", [("X",), ("obs",)])
@pytest.mark.parametrize("event", ["replaced", "removed"])
def test_unpickling_refuses_what_was_replaced(tmp_path, keys, event):
    path = write(tmp_path / "a.zarr", 1)
    pickled = pickle.dumps(load(path, *keys))
    assert pickle.dumps(pickle.loads(pickled))
    if event == "replaced":
        replace(path)
    else:
        shutil.rmtree(path)
    with pytest.raises(CorruptDataError, match=r"a\.zarr/(X|obs) was replaced, changed or removed since .* pickled"):
        pickle.loads(pickled)


@pytest.mark.parametrize("keys", [("X",), ("obs",)])
@pytest.mark.parametrize("event", ["replaced", "removed"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_loader_refuses_what_was_replaced_under_it(tmp_path, monkeypatch, keys, event, begun):
    monkeypatch.setattr("annbatch._anndata.columns.HELD_BYTES", 0)
    path = write(tmp_path / "a.zarr", 1)
    batches = iter(load(path, *keys))
    if begun:
        next(batches)
    if event == "replaced":
        replace(path)
    else:
        shutil.rmtree(path)
    with pytest.raises(CorruptDataError, match=r"a\.zarr/(X|obs|obs/\w+(/values)?) was replaced, changed or removed"):
        list(batches)


def test_only_local_zarr_has_a_folder(tmp_path):
    stored = zarr.create_array(tmp_path / "a.zarr", shape=(2,), dtype="f4")
    folder = NodeFolder.of(stored)
    assert folder is not None
    assert folder.path == tmp_path / "a.zarr"
    folder.check()
    assert NodeFolder.of(zarr.create_array({}, shape=(2,), dtype="f4")) is None
    assert NodeFolder.of(np.zeros(2)) is None
