"""Matrices that loaders read, and checks of the batches that they yield."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from annbatch import Loader


def random_matrix(seed: int, n_rows: int, n_columns: int, dtype: str, *, sparse: bool, density: float = 0.3):
    """Return a matrix of every sort of value; empty rows and columns among them."""
    rng = np.random.default_rng(seed)
    dense = rng.integers(0, 256, (n_rows, n_columns, np.dtype(dtype).itemsize), dtype=np.uint8)
    dense = (dense[..., 0] % 2 == 0) if dtype == "?" else dense.view(dtype)[..., 0]
    dense = np.where(np.isfinite(dense), dense, 2).astype(dtype)
    dense[rng.random(dense.shape) >= density] = 0
    dense[rng.random(n_rows) < 0.2] = 0
    return sp.csr_matrix(dense) if sparse else dense


def stack(parts):
    """Return all rows below each other."""
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def check_batch(batch, expected) -> None:
    """Compare a batch with the rows of ``expected`` that its index names, bit for bit."""
    x, wanted = batch["X"], expected[batch["index"]]
    assert x.dtype == wanted.dtype
    assert x.shape == wanted.shape
    if sp.issparse(expected):
        assert type(x) is sp.csr_matrix
        for name in ("data", "indices", "indptr"):
            found = getattr(x, name)
            np.testing.assert_array_equal(found, getattr(wanted, name))
            assert found.size == 0 or found.ctypes.data % 64 == 0
        assert x.indices.dtype == x.indptr.dtype == np.int32
        assert x.data.tobytes() == wanted.data.tobytes()
        x.check_format()
    else:
        assert x.tobytes() == wanted.tobytes()
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.size == 0 or x.ctypes.data % 64 == 0


def check_epoch(loader, expected, *, drop_last: bool = False) -> list[int]:
    """Check one epoch's batches; return the rows in their order."""
    n = expected.shape[0]
    size = loader.batch_sampler.batch_size
    batches = list(loader)
    assert len(batches) == len(loader)
    sizes = [len(batch["index"]) for batch in batches]
    assert sizes == [size] * (n // size) + ([n % size] if n % size and not drop_last else [])
    for batch in batches:
        assert batch["index"].dtype == np.int64
        check_batch(batch, expected)
    rows = [row for batch in batches for row in batch["index"].tolist()]
    assert len(set(rows)) == len(rows)
    if not drop_last:
        assert set(rows) == set(range(n))
    return rows


MATRIX = random_matrix(0, 203, 9, "f4", sparse=True)


def small(**arguments) -> Loader:
    defaults = {"batch_size": 10, "chunk_size": 5, "preload_nchunks": 4, "shuffle": True, "return_index": True}
    return Loader(**{**defaults, **arguments}).add_dataset(MATRIX)


def order(loader) -> list[int]:
    return [row for batch in loader for row in batch["index"].tolist()]
