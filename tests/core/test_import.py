"""What importing annbatch imports, observed in an interpreter that has imported nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

FRAMEWORKS = {"cupy", "jax", "torch"}


def modules_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after running ``code``."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    result = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_waits_with_everything_heavy():
    # Warm, an import of anndata takes 0.9 s, of zarr, pandas and numba 0.3 s each; of annbatch alone 0.05 s.
    heavy = FRAMEWORKS | {"anndata", "blosc2", "h5py", "numba", "numpy", "pandas", "scipy", "zarr", "zarrs"}

    assert not modules_after("import annbatch") & heavy


needs_a_framework = pytest.mark.skipif(
    not any(find_spec(name) for name in FRAMEWORKS),
    reason="no framework is installed: what annbatch does not import cannot be seen",
)


@needs_a_framework
def test_the_core_and_loading_import_no_framework(tmp_path):
    code = f"""
import numpy as np, pandas as pd, anndata as ad, scipy.sparse as sp
from annbatch import DatasetCollection, Loader, abc, errors, samplers, transforms, types, write_sharded
x = sp.random(20, 5, 0.5, format="csr", dtype="float32", random_state=0)
path = {str(tmp_path)!r} + "/a.h5ad"
ad.AnnData(x, obs=pd.DataFrame(index=[str(i) for i in range(20)])).write_h5ad(path)
collection = DatasetCollection({str(tmp_path)!r} + "/c.zarr").add_adatas([path], progress=False)
assert sum(len(batch["obs"]) for batch in Loader(batch_size=4).use_collection(collection)) == 20
"""

    assert not modules_after(code) & FRAMEWORKS


def test_the_first_batch_waits_for_no_import_of_anndata(tmp_path):
    import anndata as ad
    import pandas as pd

    from annbatch import DatasetCollection

    label = pd.Categorical(["B", "T"] * 5)
    obs = pd.DataFrame({"label": label, "size": np.arange(10.0)}, index=[f"cell{i}" for i in range(10)])
    var = pd.DataFrame({"name": ["a", "b", "c"], "length": [1, 2, 3]}, index=["x", "y", "z"])
    ad.AnnData(np.ones((10, 3), "f4"), obs=obs, var=var).write_h5ad(tmp_path / "cells.h5ad")
    DatasetCollection(tmp_path / "cells.zarr").add_adatas([tmp_path / "cells.h5ad"], progress=False)

    code = f"""
from annbatch import DatasetCollection, Loader
collection = DatasetCollection({str(tmp_path / "cells.zarr")!r}, mode="r")
batch = next(iter(Loader(batch_size=4, shuffle=True).use_collection(collection)))
assert len(batch["obs"]) == 4 and len(batch["var"]) == 3
"""
    assert "anndata" not in modules_after(code)


@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_the_lint_ban_names_each_framework(framework, repository):
    import tomllib

    settings = tomllib.loads((repository / "pyproject.toml").read_text())
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]

    assert framework in banned


@needs_a_framework
def test_a_framework_is_here_so_that_these_tests_can_fail():
    name = next(name for name in sorted(FRAMEWORKS) if find_spec(name))

    assert name in modules_after(f"import {name}")


def test_the_base_classes_import_without_pandas():
    assert "pandas" not in modules_after("import annbatch.abc; annbatch.abc.Sampler")
