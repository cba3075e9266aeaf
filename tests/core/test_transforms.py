"""Transforms: what a few lines of NumPy make of the same rows, whichever way they are read."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from zarr.codecs import BloscCodec

from annbatch import Loader
from annbatch._kernels.normalize import normalize_rows, row_total
from annbatch.transforms import NormalizeLog1p


def oracle(x: np.ndarray, target_sum: float) -> np.ndarray:
    """Scanpy's formula: each row divided by its total over the target, or by 1 where it has none; then log1p."""
    x = x.astype(np.float64)
    totals = x.sum(axis=1, keepdims=True)
    return np.log1p(x / np.where(totals == 0, 1, totals / target_sum))


def counts(n_rows: int = 200, n_columns: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.poisson(rng.gamma(0.3, 8.0, (n_rows, n_columns)))
    x[n_rows // 3] = 0
    return x


def on_disk(x: sp.csr_matrix, folder: Path, dtype: str = "uint16") -> Any:
    """Return the matrix in chunks so small that a row lies in several."""
    csr = zarr.open_group(folder / "x.zarr", mode="w").create_group(
        "X", attributes={"encoding-type": "csr_matrix", "shape": list(x.shape)}
    )
    for name in ("data", "indices", "indptr"):
        array = getattr(x, name)
        array = array.astype(dtype) if name == "data" else array
        csr.create_array(name, data=array, chunks=(13,), compressors=BloscCodec(cname="lz4", shuffle="shuffle"))
    return csr


def load(source: Any, **options: Any) -> np.ndarray:
    """Return all rows as the loader yields them shuffled, put back into their order."""
    n_genes = source.attrs["shape"][1] if hasattr(source, "attrs") else source.shape[1]
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]) if "var_names" in options else None
    loader = Loader(batch_size=16, chunk_size=4, preload_nchunks=8, shuffle=True, seed=1, return_index=True, **options)
    batches = list(loader.add_dataset(source, var=var))
    x = np.concatenate([batch["X"].toarray() if sp.issparse(batch["X"]) else batch["X"] for batch in batches])
    return x[np.argsort(np.concatenate([batch["index"] for batch in batches]))]


class TestNormalizeLog1p:
    @pytest.mark.slow
    @pytest.mark.parametrize("densify", [False, True])
    @pytest.mark.parametrize("kind", ["memory", "disk"])
    @pytest.mark.parametrize("target_sum", [1.0, 1e4])
    def test_is_scanpy_s_formula(self, tmp_path, kind, densify, target_sum):
        x = counts()
        stored = sp.csr_matrix(x.astype(np.uint16))
        source = stored if kind == "memory" else on_disk(stored, tmp_path)
        got = load(source, densify=densify, transform=NormalizeLog1p(target_sum))
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, oracle(x, target_sum), rtol=1e-7)
        np.testing.assert_array_equal(got == 0, x == 0)

    def test_sparse_and_dense_agree_to_the_bit(self, tmp_path):
        x = on_disk(sp.csr_matrix(counts()), tmp_path)
        one, other = (load(x, densify=densify, transform=NormalizeLog1p()) for densify in (False, True))
        np.testing.assert_array_equal(one, other, strict=True)

    def test_dense_data(self):
        x = counts()
        np.testing.assert_allclose(load(x.astype(np.int32), transform=NormalizeLog1p()), oracle(x, 1e4), rtol=1e-7)

    def test_float64_stays(self):
        x = np.random.default_rng(0).random((40, 7))
        got = load(sp.csr_matrix(x), transform=NormalizeLog1p(3))
        assert got.dtype == np.float64
        np.testing.assert_allclose(got, oracle(x, 3), rtol=1e-14)

    @pytest.mark.parametrize("densify", [False, True])
    def test_a_panel_is_normalised_to_its_own_total(self, tmp_path, densify):
        x, panel = counts(), [40, 3, 17, 59, 4]
        options = {"var_names": [f"gene{i}" for i in panel], "densify": densify, "transform": NormalizeLog1p(100)}
        got = load(on_disk(sp.csr_matrix(x), tmp_path), **options)
        np.testing.assert_allclose(got, oracle(x[:, panel], 100), rtol=1e-7)

    @given(
        x=hnp.arrays(
            st.sampled_from(["float32", "float64"]),
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=70),
            elements=st.sampled_from([0, 0, 1, 2, 31, 32, 33, 0.5, 1e-3, 70_000]),
        ),
        target_sum=st.floats(1e-3, 1e6),
    )
    def test_the_kernel_is_its_oracle(self, x, target_sum):
        expected = oracle(x, target_sum).astype(x.dtype)
        changed = x.copy()
        normalize_rows(changed.reshape(-1), np.arange(len(x) + 1) * x.shape[1], target_sum)
        tolerance = 1e-7 if x.dtype == np.float32 else 1e-13
        np.testing.assert_allclose(changed, expected, rtol=tolerance, atol=np.finfo(x.dtype).tiny)

    @given(x=hnp.arrays("float32", st.integers(0, 300), elements=st.integers(0, 2**24)))
    def test_totals_of_counts_are_exact(self, x):
        assert row_total(x) == sum(int(value) for value in x)

    @pytest.mark.parametrize("target_sum", [0, -1, float("inf"), float("nan")])
    def test_target_sums_that_are_none(self, target_sum):
        with pytest.raises(ValueError, match=rf"`target_sum` must be positive and finite, got {target_sum}"):
            NormalizeLog1p(target_sum)

    @pytest.mark.parametrize("target_sum", [10, np.float32(10), True])
    def test_a_target_sum_of_another_type_needs_no_kernels_of_its_own(self, target_sum):
        assert type(NormalizeLog1p(target_sum).target_sum) is float
        assert NormalizeLog1p(target_sum).target_sum == target_sum

    @pytest.mark.parametrize("dtype", ["float16", "complex64"])
    def test_dtypes_that_it_lacks(self, dtype):
        loader = Loader(transform=NormalizeLog1p(), dtype=dtype).add_dataset(np.ones((3, 2), np.uint8))
        with pytest.raises(TypeError, match=rf"NormalizeLog1p returns float32 or float64, got dtype {dtype}: set"):
            iter(loader)

    def test_a_dtype_that_it_does_not_make(self):
        loader = Loader(transform=NormalizeLog1p(), dtype="uint16").add_dataset(np.ones((3, 2), np.uint8))
        rule = r"`dtype` must be float32, which NormalizeLog1p\(target_sum=10000.0\) makes of it, got uint16\."
        with pytest.raises(ValueError, match=rule):
            iter(loader)

    def test_goes_to_another_process(self):
        loader = Loader(batch_size=5, chunk_size=5, transform=NormalizeLog1p(7)).add_dataset(counts(5).astype("u2"))
        expected = next(iter(loader))["X"]
        np.testing.assert_array_equal(next(iter(pickle.loads(pickle.dumps(loader))))["X"], expected)


@dataclass
class Ranks:
    """A transform of whole rows: each value's share of the greatest of its row."""

    def dtype(self, dtype: np.dtype) -> np.dtype:
        return np.result_type(dtype, np.float32)

    def __call__(self, values: np.ndarray, edges: np.ndarray) -> None:
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if b > a:
                values[a:b] /= max(values[a:b].max(), 1)


class TestOwnTransforms:
    @pytest.mark.parametrize("densify", [False, True])
    @pytest.mark.parametrize("kind", ["memory", "disk"])
    def test_see_every_row_once_and_whole(self, tmp_path, kind, densify):
        x = counts()
        stored = sp.csr_matrix(x.astype(np.uint16))
        got = load(stored if kind == "memory" else on_disk(stored, tmp_path), densify=densify, transform=Ranks())
        expected = x.astype(np.float32) / np.maximum(x.max(axis=1, keepdims=True), 1).astype(np.float32)
        np.testing.assert_array_equal(got, expected, strict=True)

    @pytest.mark.parametrize("densify", [False, True])
    def test_see_the_panel(self, tmp_path, densify):
        x, panel = counts(), [40, 3, 17]
        options = {"var_names": [f"gene{i}" for i in panel], "densify": densify, "transform": Ranks()}
        got = load(on_disk(sp.csr_matrix(x), tmp_path), **options)
        expected = x[:, panel].astype(np.float32) / np.maximum(x[:, panel].max(axis=1, keepdims=True), 1)
        np.testing.assert_array_equal(got, expected.astype(np.float32))

    def test_of_images(self):
        x = counts(30, 24).reshape(30, 2, 3, 4).astype(np.float32)
        got = load(x, transform=Ranks())
        np.testing.assert_array_equal(got, x / np.maximum(x.max(axis=(1, 2, 3), keepdims=True), 1))

    def test_what_they_raise_reaches_the_user(self):
        class Broken(Ranks):
            def __call__(self, values, edges):
                raise ArithmeticError("nothing adds up")

        with pytest.raises(ArithmeticError, match="nothing adds up"):
            next(iter(Loader(transform=Broken()).add_dataset(counts())))

    @pytest.mark.parametrize("transform", [np.log1p, NormalizeLog1p, "log1p"])
    def test_what_is_no_transform(self, transform):
        with pytest.raises(TypeError, match="`transform` must be None or have the two methods of annbatch"):
            Loader(transform=transform)


@pytest.mark.slow
@pytest.mark.parametrize("densify", [False, True])
@pytest.mark.parametrize("var_names", [None, ["gene3", "gene1", "gene2"]])
@pytest.mark.parametrize("transform", [NormalizeLog1p(10), Ranks()], ids=["normalised", "own"])
def test_repeated_columns_of_a_row_are_added_up_first(tmp_path, var_names, transform, densify):
    indices, indptr = np.array([3, 1, 1, 0, 2, 0, 2, 4, 4]), np.array([0, 4, 4, 7, 9])  # not sorted
    x = sp.csr_matrix((np.array([1, 2, 3, 0, 5, 6, 7, 200, 100], "u1"), indices, indptr), shape=(4, 5))
    dense = x.astype(np.float32).toarray()
    expected = load(dense if var_names is None else dense[:, [3, 1, 2]], transform=transform)
    options = {"transform": transform, "densify": densify} | ({} if var_names is None else {"var_names": var_names})
    for source in (x, on_disk(x, tmp_path, "uint8")):
        np.testing.assert_array_equal(load(source, **options), expected)
