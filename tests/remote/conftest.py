"""A real S3-protocol server in a separate process, a proxy in front of it, and collections in it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader, RemoteStore

SECRET = "a-secret-that-nobody-may-see"

_SERVER = Path(__file__).parents[1] / "s3_server.py"


@pytest.fixture(scope="session", autouse=True)
def _needed() -> None:
    pytest.importorskip("obstore", reason="needs obstore: pip install obstore")
    pytest.importorskip("moto", reason="needs moto: pip install 'moto[s3]'")


@pytest.fixture(scope="session")
def secret() -> str:
    """The secret key."""
    return SECRET


@pytest.fixture(scope="session")
def proxies() -> ModuleType:
    """The proxy's module, imported by its path as tests are not a package."""
    spec = importlib.util.spec_from_file_location("annbatch_proxy", Path(__file__).with_name("proxy.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def s3() -> Iterator[tuple[str, int]]:
    """Host and port of a real server of the S3 protocol, with a bucket in it."""
    command = [sys.executable, "-W", "ignore", str(_SERVER)]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert server.stdout is not None
    port = int(server.stdout.readline().split()[-1])
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")).close()
    yield "127.0.0.1", port
    server.kill()
    server.communicate()


@pytest.fixture
def environment(s3: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Point ``s3://bucket`` at a port of the server, through obstore's environment variables."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # conversion works there

    def point_at(port: int) -> None:
        settings = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIATEST",
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    point_at(s3[1])
    return point_at


@pytest.fixture
def proxy(proxies: ModuleType, s3: tuple[str, int], environment: Callable[[int], None]) -> Iterator[Any]:
    """A proxy in front of ``s3://bucket``, without faults at first."""
    one = proxies.Proxy(s3)
    environment(one.port)
    yield one
    one.stop()


def make_cells(n_rows: int = 1000, n_genes: int = 60) -> ad.AnnData:
    """Return cells with counts, an embedding and annotations."""
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(0.5, (n_rows, n_genes)).astype(np.float32))
    obs = pd.DataFrame(
        {"label": pd.Categorical(rng.choice(["B", "T", "NK"], n_rows))},
        index=[f"cell{i}" for i in range(n_rows)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    return ad.AnnData(counts, obs=obs, var=var, obsm={"X_pca": rng.normal(size=(n_rows, 8)).astype(np.float32)})


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An h5ad file."""
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    make_cells().write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def bucket(s3: tuple[str, int]) -> Any:
    """The bucket, opened with obstore."""
    from obstore.store import S3Store

    return S3Store(
        "bucket",
        endpoint=f"http://{s3[0]}:{s3[1]}",
        client_options={"allow_http": True},
        access_key_id="AKIATEST",
        secret_access_key=SECRET,
        region="us-east-1",
    )


@pytest.fixture(scope="session")
def stored(bucket: Any, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Store a collection of a given layout in a folder and, byte for byte, in the bucket; return the folder."""
    folder = tmp_path_factory.mktemp("stored")
    names: dict[str, str] = {}

    def make(layout: str) -> str:
        if layout not in names:
            names[layout] = str(folder / layout)
            rng = np.random.default_rng(0)
            collection = DatasetCollection(names[layout])
            # Two calls, two datasets; small chunks and several shards, so that there is something to plan.
            for _ in range(2):
                collection.add_adatas(
                    [cells],
                    layout=layout,
                    n_obs_per_chunk=20,
                    shard_size=500,
                    rng=rng,
                    progress=False,
                    if_present="add",
                )
            for path in Path(names[layout]).rglob("*"):
                if path.is_file():
                    bucket.put(f"{layout}/{path.relative_to(names[layout]).as_posix()}", path)
        return names[layout]

    return make


def loader(collection: DatasetCollection | str | RemoteStore, **arguments: Any) -> Loader:
    """Return a loader of small shuffled windows."""
    import zarr

    if isinstance(collection, RemoteStore):
        collection = DatasetCollection(zarr.open_group(collection, mode="r"), mode="r")
    if isinstance(collection, str):
        collection = DatasetCollection(collection, mode="r")
    given = {"batch_size": 100, "chunk_size": 10, "preload_nchunks": 50, "shuffle": True, "seed": 7} | arguments
    return Loader(return_index=True, **given).use_collection(collection)


def assert_same_batches(ours: Any, theirs: Any) -> None:
    """Compare two passes bit for bit."""
    count = 0
    for one, other in zip(ours, theirs, strict=True):
        assert np.array_equal(one["index"], other["index"])
        pd.testing.assert_frame_equal(one["obs"], other["obs"])
        for part in ("data", "indices", "indptr") if sparse.issparse(one["X"]) else ("T",):
            a, b = getattr(one["X"], part), getattr(other["X"], part)
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
        count += 1
    assert count > 0


@pytest.fixture(scope="session", name="make_cells")
def _make_cells() -> Callable[[int, int], ad.AnnData]:
    """Return cells with counts, an embedding and annotations."""
    return make_cells


@pytest.fixture
def load() -> Callable[..., Loader]:
    """Make a loader of small shuffled windows."""
    return loader


@pytest.fixture
def same_batches() -> Callable[[Any, Any], None]:
    """Compare two passes bit for bit."""
    return assert_same_batches
