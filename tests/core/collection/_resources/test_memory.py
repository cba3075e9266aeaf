"""A conversion in a separate process keeps to its `memory_limit`: peak memory is measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection

# Memory on top of that of imports and compilation, which a small conversion triggers first.
CONVERT = """
import resource, sys, warnings
warnings.simplefilter("ignore")
from annbatch import DatasetCollection
folder, *files = sys.argv[1:]
convert = dict(memory_limit="288MB", shuffle=False, progress=False)
DatasetCollection(f"{folder}/little.zarr").add_adatas([f"{folder}/little.h5ad"], **convert)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
DatasetCollection(f"{folder}/all.zarr").add_adatas(files, **convert)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024))
"""


def _write(path: Path, lengths: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths])
    values = rng.random(len(indices), np.float32)
    text = [f"{number:0200d}" for number in range(len(lengths))]
    obs = pd.DataFrame({"text": text}, index=[f"cell{i}" for i in range(len(lengths))])
    ad.AnnData(sparse.csr_matrix((values, indices, indptr), (len(lengths), 60_000)), obs).write_h5ad(path)


@pytest.mark.slow
def test_memory_is_bounded_for_rows_of_any_size(tmp_path: Path) -> None:
    tiny, long = np.full(30_000, 10), np.full(450, 60_000)
    _write(tmp_path / "little.h5ad", np.concatenate([tiny[:100], long[:1]]), 0)  # names repeat
    _write(tmp_path / "a.h5ad", tiny, 1)
    _write(tmp_path / "b.h5ad", np.concatenate([tiny, long]), 2)  # the last rows take 162 MB while they are shuffled
    files = [str(tmp_path / name) for name in ("a.h5ad", "b.h5ad")]
    done = subprocess.run([sys.executable, "-c", CONVERT, str(tmp_path), *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 180_000_000  # 50 to 120 MB; 270 MB if all rows were held


@pytest.mark.slow
@pytest.mark.parametrize("where", ["a column", "names of rows", "the last rows"])
def test_memory_is_bounded_for_strings_of_any_length(tmp_path: Path, where: str) -> None:
    def write(name: str, n_rows: int) -> str:
        text = np.array([f"{i:020000d}" for i in range(n_rows)], object)  # 300 MB in all
        text[: n_rows // 2 if where == "the last rows" else 0] = "short"
        names = text if where == "names of rows" else [f"cell{i}" for i in range(n_rows)]
        obs = pd.DataFrame({"text": text} if where != "names of rows" else {}, index=names)
        obs["text too"] = "ü"
        with ad.settings.override(allow_write_nullable_strings=True):
            group = h5py.File(tmp_path / name, "w")
            ad.io.write_elem(group, "/", ad.AnnData(np.zeros((n_rows, 3), np.float32), obs))
            group.close()
        return str(tmp_path / name)

    write("little.h5ad", 30)
    command = [sys.executable, "-c", CONVERT, str(tmp_path), write("a.h5ad", 15_000)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 250_000_000  # 60 to 170 MB; 1.7 GB where strings counted as short ones
    found = DatasetCollection(tmp_path / "all.zarr").obs()
    if where == "names of rows":
        assert sorted(found.index) == sorted(f"{i:020000d}" for i in range(15_000))
    else:
        assert set(map(len, found["text"])) == {20_000} | ({5} if where == "the last rows" else set())
