"""Sparse windows that travel in compact form and become dense on a device: here the device is the CPU."""

from __future__ import annotations

import pickle
from functools import partial
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from annbatch import Loader
from annbatch.transforms import NormalizeLog1p


@pytest.fixture
def make_loader(make_loader):
    """As ever, with batches so large that they differ little in size: JAX compiles for each."""
    return partial(make_loader, batch_size=256)


@pytest.fixture(params=["torch", "jax"])
def adapter(request):
    pytest.importorskip(request.param, reason=f"{request.param} is not installed", exc_type=ImportError)
    made = getattr(import_module(f"annbatch_{request.param}"), f"{request.param.title()}Adapter")(stages=True)
    sent = []

    class Recording(type(made)):
        def stage(self, window):
            sent.append((window.data.dtype.name, window.indices.dtype.name))
            return super().stage(window)

    adapter = Recording(stages=True)
    adapter.sent = sent
    return adapter


def test_what_travels_is_what_is_stored(make_loader, counts, adapter):
    assert counts.max() < 256
    expected = counts.toarray()
    rows = []
    for batch in make_loader(adapter, densify=True, return_index=True):
        np.testing.assert_array_equal(np.asarray(batch["X"]), expected[batch["index"]], strict=True)
        rows.append(batch["index"])
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(len(expected)))
    assert set(adapter.sent) == {("uint8", "uint16")}


def test_wide_values_that_are_not_asked_for_do_not_travel(adapter):
    x = sparse.random(100, 7, 0.5, "csr", dtype=np.float64, random_state=0)
    loader = Loader(batch_size=10, chunk_size=5, preload_nchunks=4, densify=True, dtype="float32", to=adapter)
    got = np.concatenate([np.asarray(batch["X"]) for batch in loader.add_dataset(x)])
    np.testing.assert_array_equal(got, x.toarray().astype(np.float32), strict=True)
    assert set(adapter.sent) == {("float32", "uint16")}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_repeated_columns_of_a_row_are_added_up_before_they_are_normalised(adapter, dtype):
    x = sparse.csr_matrix((np.array([200, 100, 7, 5], "u1"), [2, 2, 0, 1], [0, 3, 4]), shape=(2, 3))

    def load(matrix):
        options = {"densify": True, "transform": NormalizeLog1p(10), "dtype": dtype, "to": adapter}
        batch = next(iter(Loader(batch_size=2, chunk_size=2, preload_nchunks=1, **options).add_dataset(matrix)))
        return batch["X"].tolist()

    assert load(x) == load(sparse.csr_matrix(x.astype("f4").toarray()))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves(make_loader, counts, adapter, dtype):
    expected = counts.toarray()
    for batch in make_loader(adapter, densify=True, return_index=True, dtype=dtype):
        assert str(batch["X"].dtype).removeprefix("torch.") == dtype
        x = batch["X"].float().numpy() if hasattr(batch["X"], "float") else batch["X"].astype("float32")
        np.testing.assert_array_equal(x, expected[batch["index"]])  # counts below 256 are exact


def test_bfloat16_by_its_other_names(make_loader, adapter):
    import ml_dtypes

    for dtype in (ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)):
        batch = next(iter(make_loader(adapter, densify=True, dtype=dtype)))
        assert str(batch["X"].dtype).removeprefix("torch.") == "bfloat16"


def test_a_transform_comes_to_what_it_does_on_the_host(make_loader, adapter):
    options = {"densify": True, "transform": NormalizeLog1p(100)}
    for one, other in zip(make_loader(adapter, **options), make_loader(None, **options), strict=True):
        assert one["X"].shape == other["X"].shape
        np.testing.assert_allclose(np.asarray(one["X"]), other["X"], rtol=1e-6)
    assert adapter.sent


def test_a_panel(make_loader, adapter):
    options = {"densify": True, "var_names": [f"gene{i}" for i in (100, 3, 57)], "transform": NormalizeLog1p(100)}
    for one, other in zip(make_loader(adapter, **options), make_loader(None, **options), strict=True):
        np.testing.assert_allclose(np.asarray(one["X"]), other["X"], rtol=1e-6)
    assert adapter.sent


def test_what_the_device_cannot_do_the_host_does(adapter):
    """Datasets of different genes, and a transform that the adapter does not know, are made CSR batches first."""
    x = sparse.random(60, 6, 0.5, "csr", dtype=np.float32, random_state=0)
    genes = [pd.DataFrame(index=list(names)) for names in ("abcdef", "cdefgh")]

    class Double:
        def dtype(self, dtype):
            return dtype

        def __call__(self, values, edges):
            values *= 2

    joined = Loader(batch_size=20, chunk_size=5, preload_nchunks=4, densify=True, var_join="inner", to=adapter)
    got = np.concatenate([np.asarray(batch["X"]) for batch in joined.add_datasets([x, x], var=genes)])
    np.testing.assert_array_equal(got, np.concatenate([x.toarray()[:, 2:], x.toarray()[:, :4]]))
    doubled = Loader(batch_size=60, chunk_size=60, preload_nchunks=1, densify=True, transform=Double(), to=adapter)
    np.testing.assert_array_equal(np.asarray(next(iter(doubled.add_dataset(x)))["X"]), 2 * x.toarray())
    assert not adapter.sent


def test_a_half_that_nobody_can_make(adapter):
    with pytest.raises(ValueError, match="`dtype` must be one that NumPy has, got bfloat16: an adapter makes it on"):
        Loader(dtype="bfloat16", to=adapter)
    loader = Loader(dtype="bfloat16", densify=True, to=adapter).add_dataset(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"as float32, where the data is dense, got bfloat16\."):
        iter(loader)


def test_dense_data_and_sparse_batches_are_as_ever(make_loader, embedding, counts, adapter):
    loader = Loader(batch_size=64, chunk_size=8, preload_nchunks=8, densify=True, to=adapter).add_dataset(embedding)
    np.testing.assert_array_equal(np.concatenate([np.asarray(batch["X"]) for batch in loader]), embedding)
    batch = next(iter(make_loader(adapter, shuffle=False, seed=None)))
    dense = batch["X"].to_dense() if hasattr(batch["X"], "to_dense") else batch["X"].todense()
    np.testing.assert_array_equal(np.asarray(dense), counts[:256].toarray())
    assert not adapter.sent


def test_goes_to_another_process(make_loader, adapter):
    plain = type(adapter).__mro__[1](stages=True)
    loader = make_loader(plain, densify=True, dtype="bfloat16")
    again = pickle.loads(pickle.dumps(loader))
    assert next(iter(again))["X"].dtype == next(iter(loader))["X"].dtype
