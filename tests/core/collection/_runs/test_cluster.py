"""A Dask cluster writes the same bytes as one machine, even if a worker dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from annbatch import DatasetCollection

from ..conftest import make_cells

distributed = pytest.importorskip("distributed", reason="a cluster needs dask and distributed")

Write = Callable[..., str]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Dask's own: of ports in use, of workers that restart
def test_a_worker_of_a_cluster_dies(tmp_path: Path, write: Write) -> None:
    cells = [make_cells(i, 400) for i in range(3)]
    for one in cells:
        one.obsp["pairs"] = sparse.random(400, 400, 0.01, format="csr", random_state=0)
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]

    def convert(name: str, client: object) -> dict[str, bytes]:
        DatasetCollection(tmp_path / name).add_adatas(
            paths,
            rng=np.random.default_rng(0),
            dataset_size=250,
            memory_limit="1MB",
            obsp="pairs",
            client=client,
            progress=False,
        )
        return files(tmp_path / name)

    alone = convert("alone.zarr", None)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        worker = next(iter(client.run(os.getpid).values()))
        spill = tmp_path / "together.zarr" / ".annbatch-work" / "spill"
        killed = threading.Event()

        def kill() -> None:
            while not list(spill.glob("part-*")) if spill.exists() else True:
                time.sleep(0.005)
            os.kill(worker, signal.SIGKILL)
            killed.set()

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        together = convert("together.zarr", client)
        assert killed.is_set()
    assert together == alone
