"""The benchmark of a slow link runs: on small data, for a moment; what it measures is not looked at."""

from __future__ import annotations

import re
import subprocess
import sys

import anndata as ad
import numpy as np
from scipy import sparse

from annbatch import DatasetCollection


def test_it_prints_a_link_what_reaches_a_loader_and_what_that_costs(repository, tmp_path):
    cells = sparse.csr_matrix(np.random.default_rng(0).poisson(0.1, (2000, 100)).astype(np.float32))
    ad.AnnData(cells).write_h5ad(tmp_path / "cells.h5ad")
    DatasetCollection(tmp_path / "cells.zarr").add_adatas([tmp_path / "cells.h5ad"], progress=False)
    small = ["--seconds", "0.1", "--window", "512", "--chunk-sizes", "64", "16", "--rounds", "1"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.remote", str(tmp_path / "cells.zarr"), *small],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert re.search(r"The link carries [\d.]+ MB/s, with 20 ms to the first byte", done.stdout)
    assert len(re.findall(r"^\| (?:64|16) \| [\d.]+ \| \d+% \|$", done.stdout, re.MULTILINE)) == 2
    for name in ("annbatch", "obstore.get_ranges_async", "obstore, gaps as annbatch"):
        fetched = re.findall(
            rf"^\| (?:64|16) \| {name} \|.*\| ([\d,]+) \| [\d.]+ \| [\d.]+% \|$", done.stdout, re.MULTILINE
        )
        assert len(fetched) == 2
        assert all(int(requests) > 0 for requests in fetched)
    costs = re.findall(r"^\| (?:64|16) \| ([\d,]+) \| [\d.]+ \|$", done.stdout, re.MULTILINE)
    assert len(costs) == 2
    assert all(int(cost.replace(",", "")) > 0 for cost in costs)
