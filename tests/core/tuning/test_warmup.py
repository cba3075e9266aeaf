"""After a warm-up, nothing is compiled for the usual data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT_COMPILED = """
import sys
from pathlib import Path
import numba.core.event
from annbatch import DatasetCollection, Loader
from annbatch.demo import write_atlas

compiled = []

class Listener(numba.core.event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__name__)

    def on_end(self, event):
        pass

numba.core.event.register("numba:compile", Listener())
files = write_atlas(Path(sys.argv[1]), cells_per_study=100, n_genes=1000, seed=0)
collection = DatasetCollection(Path(sys.argv[1]) / "c.zarr").add_adatas(files, progress=False)
loader = Loader(batch_size=64, chunk_size=32, preload_nchunks=8, shuffle=True)
next(iter(loader.use_collection(collection)))
print("compiled", *compiled)
"""


@pytest.mark.slow
def test_the_first_batch_compiles_nothing(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=250
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run("-c", "import sys; from annbatch.cli import main; main(sys.argv[1:])", "warmup")
    assert f"kept in {tmp_path / 'cache'}" in said
    assert run("-c", COUNT_COMPILED, str(tmp_path)).splitlines()[-1].strip() == "compiled"
