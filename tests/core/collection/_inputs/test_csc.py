"""Rows of a CSC matrix equal those of SciPy's conversion, for any size of window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from annbatch import DatasetCollection
from annbatch.collection._inputs.csc import StoredCsc
from annbatch.collection._resources.pages import RowMemory
from annbatch.collection._resources.threads import workers
from annbatch.errors import CorruptDataError

from ..conftest import assert_holds, make_counts

Write = Callable[..., str]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "bool", "complex64"])
@pytest.mark.parametrize("window", [1, 900, 1 << 20])
@pytest.mark.parametrize("shape", [(50, 9), (1, 40), (40, 1), (7, 0)])
def test_any_rows(tmp_path: Path, dtype: str, window: int, shape: tuple[int, int]) -> None:
    matrix = sparse.random(*shape, 0.3, format="csc", rng=np.random.default_rng(0))
    matrix.data = (matrix.data * 100).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        ad.io.write_elem(file, "X", matrix)
    expected = matrix.tocsr()
    with h5py.File(tmp_path / "a.h5", "r") as file, workers("test", RowMemory(window)) as reading:
        stored = StoredCsc(file["X"], "X")
        assert stored.info.shape == shape
        assert stored.info.nnz == matrix.nnz
        n = shape[0]
        for start, stop in [(0, n), (0, min(5, n)), (min(3, n), min(20, n)), (n // 2, n), (n, n)]:
            rows = stored.read(start, stop, reading)
            selected = expected[start:stop]
            assert np.array_equal(rows.indptr, selected.indptr)
            assert np.array_equal(rows.indices, selected.indices)
            assert rows.data.dtype == selected.data.dtype
            assert rows.data.tobytes() == selected.data.tobytes()


def test_errors_name_damaged_matrices(tmp_path: Path) -> None:
    matrix = sparse.random(20, 5, 0.5, format="csc", rng=np.random.default_rng(0))
    for name, wrong in (("indices", 20), ("indptr", 3)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            ad.io.write_elem(file, "X", matrix)
            file["X"][name][-1] = wrong
        with (
            h5py.File(tmp_path / f"{name}.h5", "r") as file,
            workers("test") as reading,
            pytest.raises(CorruptDataError, match="the matrix must have"),
        ):
            StoredCsc(file["X"], "the matrix").read(0, 20, reading)


@pytest.mark.parametrize("memory_limit", ["4GB", "100kB"])
def test_conversion(tmp_path: Path, write: Write, memory_limit: str) -> None:
    cells = [make_counts(i, n) for i, n in enumerate([6000, 20])]
    for one in cells:
        one.X = one.X.tocsc()
    paths = [write(one, f"{i}.h5ad") for i, one in enumerate(cells)]
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas(paths, memory_limit=memory_limit, progress=False)
    assert_holds(collection, dict(zip(paths, cells, strict=True)))
