"""What a batch is in each framework: whose memory, which values, which types."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from annbatch import Loader
from annbatch._loading.adapters import find_adapter


def recording(name):
    """Return an adapter that also remembers the host batch that it converted last."""

    class Recording(type(find_adapter(name, None))):
        def dense(self, array):
            self.host = array
            return super().dense(array)

        def csr(self, matrix):
            self.host = matrix
            return super().csr(matrix)

    return Recording()


@pytest.mark.parametrize("framework", ["torch", "jax"], indirect=True)
@pytest.mark.parametrize(("chunk_size", "batch_size"), [(16, 64), (7, 28), (1, 32), (512, 1)])
def test_sparse_batches_lie_in_the_window(make_loader, framework, chunk_size, batch_size):
    adapter = recording(framework.to)
    loader = make_loader(adapter, chunk_size=chunk_size, batch_size=batch_size)
    n_batches = 0
    for batch in loader:
        n_batches += 1
        hosts = adapter.host.data, adapter.host.indices, adapter.host.indptr
        for part, host in zip(framework.csr_parts(batch["X"]), hosts, strict=True):
            assert framework.address(part) == host.ctypes.data or host.size == 0
    assert n_batches == len(loader)


@pytest.mark.parametrize("framework", ["torch", "jax"], indirect=True)
@pytest.mark.parametrize(("chunk_size", "batch_size"), [(16, 64), (7, 28), (1, 32), (512, 1)])
def test_dense_batches_lie_in_the_window(embedding, framework, chunk_size, batch_size):
    adapter = recording(framework.to)
    loader = Loader(chunk_size=chunk_size, preload_nchunks=32, batch_size=batch_size, shuffle=True, seed=0, to=adapter)
    for batch in loader.add_dataset(embedding):
        assert framework.address(batch["X"]) == adapter.host.ctypes.data


@pytest.mark.parametrize("framework", ["torch", "jax"], indirect=True)
def test_densified_batches_lie_in_the_window(make_loader, framework):
    adapter = recording(framework.to)
    loader = make_loader(adapter, densify=True)
    for batch in loader:
        assert framework.address(batch["X"]) == adapter.host.ctypes.data
    assert loader.stats.batches == len(loader)


def test_values_and_rows(make_loader, counts, framework):
    expected = counts.toarray()
    seen = []
    for batch in make_loader(framework.to, return_index=True):
        np.testing.assert_array_equal(framework.dense(batch["X"]), expected[batch["index"]], strict=True)
        seen.append(batch["index"])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(counts.shape[0]))


def test_index_dtypes(make_loader, framework):
    for batch in make_loader(framework.to):
        _, indices, indptr = framework.csr_parts(batch["X"])
        assert np.asarray(indices).dtype == np.asarray(indptr).dtype == np.int32


@pytest.mark.parametrize("dtype", ["float32", "uint16", "int8", "bool"])
def test_dtype_and_densify(make_loader, counts, framework, dtype):
    expected = counts.toarray().astype(dtype)
    for batch in make_loader(framework.to, dtype=dtype, densify=True, return_index=True):
        assert framework.is_dense(batch["X"])
        np.testing.assert_array_equal(np.asarray(batch["X"]), expected[batch["index"]], strict=True)


def test_dense_data(embedding, framework):
    loader = Loader(
        chunk_size=16, preload_nchunks=32, batch_size=64, shuffle=True, seed=0, to=framework.to, return_index=True
    )
    for batch in loader.add_dataset(embedding):
        np.testing.assert_array_equal(np.asarray(batch["X"]), embedding[batch["index"]], strict=True)


def test_obs_as_a_dataframe(make_loader, obs, framework):
    for batch in make_loader(framework.to, return_index=True):
        expected = obs.iloc[batch["index"]]
        assert list(batch["obs"].index) == list(expected.index)
        np.testing.assert_array_equal(batch["obs"]["depth"], expected["depth"], strict=True)
        assert list(batch["obs"]["label"]) == list(expected["label"])


def test_obs_as_arrays(make_loader, obs, framework):
    x_type = None
    loader = make_loader(framework.to, return_index=True, obs_as="arrays", densify=True)
    for batch in loader:
        x_type = type(batch["X"])
        expected = obs.iloc[batch["index"]]
        for name in ("label", "depth", "passed"):
            assert isinstance(batch["obs"][name], x_type), name
        np.testing.assert_array_equal(np.asarray(batch["obs"]["depth"]), expected["depth"], strict=True)
        np.testing.assert_array_equal(np.asarray(batch["obs"]["passed"]), expected["passed"], strict=True)
        codes = np.asarray(batch["obs"]["label"])
        assert [loader.categories["label"][code] for code in codes] == list(expected["label"])
        assert list(batch["obs"]["barcode"]) == list(expected["barcode"])
    assert x_type is not None


def test_a_batch_without_values(framework):
    loader = Loader(chunk_size=4, preload_nchunks=2, batch_size=4, to=framework.to)
    batches = list(loader.add_dataset(sparse.csr_matrix((10, 5), dtype=np.float32)))
    assert [tuple(batch["X"].shape) for batch in batches] == [(4, 5), (4, 5), (2, 5)]
    assert not any(framework.dense(batch["X"]).any() for batch in batches)
