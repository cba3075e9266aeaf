"""Matrices as other programs write them: repeated columns, damaged pointers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
from scipy import sparse

from annbatch import DatasetCollection, Loader
from annbatch.errors import CorruptDataError, StoreError

from ..conftest import dense, read

Write = Callable[..., str]


def rows_of(collection: DatasetCollection) -> np.ndarray:
    """Return X of all rows, as a loader yields it."""
    n = collection.n_obs
    return dense(next(iter(Loader(batch_size=n, chunk_size=n, preload_nchunks=1).use_collection(collection)))["X"])


def repeating(kind: str, dtype: str) -> ad.AnnData:
    """Return a matrix whose rows, or columns, hold some places more than once."""
    data, indptr = np.array([1, 2, 3, 5, 200, 100, 7, 6], dtype), [0, 4, 4, 6, 8]
    other = [3, 1, 1, 0, 2, 2, 0, 3]  # not sorted
    if kind == "csr":
        return ad.AnnData(sparse.csr_matrix((data, other, indptr), shape=(4, 5)))
    return ad.AnnData(sparse.csc_matrix((data, other, indptr), shape=(5, 4)))


@pytest.mark.parametrize("memory_limit", ["4GB", 1])
@pytest.mark.parametrize("with_genes", [False, True])
@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_values_of_repeated_columns_are_added_up(
    tmp_path: Path, write: Write, kind: str, with_genes: bool, memory_limit: int | str
) -> None:
    cells = repeating(kind, "float32")
    path = write(cells, "a.h5ad")
    subset = cells.var_names[::-1] if with_genes else None
    collection = DatasetCollection(tmp_path / "c.zarr")
    collection.add_adatas([path], shuffle=False, var_subset=subset, memory_limit=memory_limit, progress=False)

    expected = cells.X.toarray()[:, :: -1 if with_genes else 1]
    assert np.array_equal(rows_of(collection), expected)
    (stored,) = read(collection)
    assert stored.X.has_canonical_format
    # Wide enough for the sum: a reader that knows nothing of narrowing sees it too.
    assert np.array_equal(stored.X.toarray(), expected)


def test_a_sum_beyond_the_integers_of_the_inputs_is_refused(tmp_path: Path, write: Write) -> None:
    path = write(repeating("csr", "uint8"), "a.h5ad")
    with pytest.raises(StoreError, match=r"`X` of .*a.h5ad must hold integers that are exact in uint8, .*, got 300"):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
    floats = repeating("csr", "float32")
    floats.obs_names = list("efgh")
    other = write(floats[:2].copy(), "b.h5ad")
    collection = DatasetCollection(tmp_path / "c.zarr").add_adatas([path, other], shuffle=False, progress=False)
    assert rows_of(collection)[:4].sum() == 324


@pytest.mark.parametrize("kind", ["csr", "csc"])
def test_pointers_that_do_not_begin_at_0_are_refused(tmp_path: Path, write: Write, kind: str) -> None:
    path = write(repeating(kind, "float32"), "a.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/indptr"][0] = 2
    with pytest.raises(CorruptDataError, match=r"`X` of .*a.h5ad must have an `indptr` that ascends from 0, got "):
        DatasetCollection(tmp_path / "c.zarr").add_adatas([path], progress=False)
