"""Memory where rows are not alike: blocks are cut by what rows take, not by what they take on average."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

Write = Callable[..., str]

CHILD = """
import resource, sys
import numpy as np
from annbatch import DatasetCollection
idle = 40 << 20  # of a Python interpreter that has loaded nothing, at most
DatasetCollection(sys.argv[2]).add_adatas(
    [sys.argv[1]], rng=np.random.default_rng(0), memory_limit=sys.argv[3], progress=False
)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - idle)
"""


def test_a_conversion_keeps_its_memory_limit(tmp_path: Path, write: Write) -> None:
    n_light, n_heavy, n_vars = 60_000, 400, 40_000
    indptr = np.concatenate([np.arange(n_light + 1), n_light + n_vars * np.arange(1, n_heavy + 1)])
    indices = np.concatenate([np.zeros(n_light, np.int32), np.tile(np.arange(n_vars, dtype=np.int32), n_heavy)])
    counts = sparse.csr_matrix((np.full(len(indices), 0.5, np.float32), indices, indptr), (len(indptr) - 1, n_vars))
    names = pd.Index(np.arange(len(indptr) - 1).astype(str))
    path = write(ad.AnnData(counts, obs=pd.DataFrame(index=names)), "0.h5ad")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, path, str(tmp_path / "c.zarr"), "350MB"],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert int(done.stdout) < 350e6
