"""What the loader is tried on with every framework, and how to look into what each makes of a batch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

N_ROWS, N_COLUMNS = 3_001, 123


@pytest.fixture(scope="session")
def counts() -> sparse.csr_matrix:
    """Counts of rows of very different lengths, some of them empty."""
    rng = np.random.default_rng(0)
    dense = rng.poisson(rng.gamma(0.3, 1.0, (N_ROWS, 1)) * rng.gamma(0.3, 2.0, N_COLUMNS)).astype(np.float32)
    dense[::50] = 0
    return sparse.csr_matrix(dense)


@pytest.fixture(scope="session")
def obs() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "label": pd.Categorical(rng.choice(["a", "b", "c"], N_ROWS)),
            "depth": rng.random(N_ROWS).astype(np.float32),
            "passed": rng.random(N_ROWS) < 0.5,
            "barcode": [f"barcode{row}" for row in range(N_ROWS)],
        },
        index=[f"cell{row}" for row in range(N_ROWS)],
    )


@pytest.fixture(scope="session")
def embedding() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((N_ROWS, 13)).astype(np.float32)


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory, counts: sparse.csr_matrix, obs: pd.DataFrame) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    var = pd.DataFrame(index=[f"gene{column}" for column in range(N_COLUMNS)])
    ad.AnnData(counts, obs=obs, var=var).write_h5ad(folder / "cells.h5ad")
    DatasetCollection(folder / "cells.zarr").add_adatas([folder / "cells.h5ad"], shuffle=False)
    return folder / "cells.zarr"


@pytest.fixture
def make_loader(collection: Path) -> Callable[..., Loader]:
    """Return what makes a loader over the collection: shuffled, in windows of eight batches unless told otherwise."""

    def make(to: object, **changes: Any) -> Loader:
        settings = {"chunk_size": 16, "preload_nchunks": 32, "batch_size": 64, "shuffle": True, "seed": 0}
        return Loader(**{**settings, **changes}, to=to).use_collection(DatasetCollection(collection, mode="r"))

    return make


@dataclass(frozen=True, slots=True)
class Framework:
    """How to look into what a framework's batches hold.

    Attributes
    ----------
    to
        What ``Loader(to=...)`` takes.
    csr_parts
        Returns data, indices and indptr of a sparse batch, as arrays of the framework.
    address
        Returns where an array of the framework lies in the host's memory.
    """

    to: str | None
    csr_parts: Callable[[Any], tuple[Any, Any, Any]]
    address: Callable[[Any], int]

    def bits(self, x: Any) -> list[bytes]:
        """Return a copy of all that a batch's X holds, sparse or dense."""
        arrays = [x] if self.is_dense(x) else self.csr_parts(x)
        return [np.asarray(array).tobytes() for array in arrays]

    def is_dense(self, x: Any) -> bool:
        """Return whether X is an array of numbers and no sparse matrix."""
        return type(x).__name__ in ("ndarray", "ArrayImpl") or str(getattr(x, "layout", "")) == "torch.strided"

    def dense(self, x: Any) -> np.ndarray:
        """Return a batch's X as a NumPy array, by the framework's own conversion."""
        if self.is_dense(x):
            return np.asarray(x)
        by = {None: "toarray", "torch": "to_dense", "jax": "todense"}[self.to]
        return np.asarray(getattr(x, by)())


FRAMEWORKS = {
    "numpy": Framework(None, lambda x: (x.data, x.indices, x.indptr), lambda array: array.ctypes.data),
    "torch": Framework(
        "torch", lambda x: (x.values(), x.col_indices(), x.crow_indices()), lambda array: array.data_ptr()
    ),
    "jax": Framework("jax", lambda x: (x.data, x.indices, x.indptr), lambda array: array.unsafe_buffer_pointer()),
}


def installed(name: str) -> Framework:
    """Return a framework, or skip the test where it is not installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        pytest.skip(f"{name} is not installed")
    return FRAMEWORKS[name]


@pytest.fixture(params=["numpy", "torch", "jax"])
def framework(request: pytest.FixtureRequest) -> Framework:
    return installed(request.param)
