"""Integers of 64 bits beside floats: exact, or an error that names the dataset and the integer."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st

from annbatch import Loader
from annbatch._arrays.exact import ExactArray, may_round
from annbatch._arrays.memory import MemoryArray
from annbatch._plan.pieces import Pieces

LARGE = 2**53 + 1  # the first integer that float64 cannot hold
FORMS = {
    "CSR": (sp.csr_matrix, {}),
    "dense": (np.asarray, {}),
    "densified": (sp.csr_matrix, {"densify": True}),
    "chosen": (sp.csr_matrix, {"var_names": ["b", "a"]}),
    "dense chosen": (np.asarray, {"var_names": ["b", "a"]}),
    "chosen and densified": (sp.csr_matrix, {"densify": True, "var_names": ["b"]}),
}


def cells(values: object, kind: object) -> ad.AnnData:
    adata = ad.AnnData(kind(values))
    adata.var_names = list("abc")
    return adata


def stored(adata: ad.AnnData, path: object, how: str) -> object:
    if how == "memory":
        return adata
    if how == "h5ad":
        adata.write_h5ad(path)
        return path
    group = zarr.create_group(path, zarr_format=3)
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(group, "/", adata)
    return zarr.open_group(path, mode="r")


def dense(batch: dict) -> np.ndarray:
    return batch["X"].toarray() if sp.issparse(batch["X"]) else batch["X"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["memory", "h5ad", "zarr"])
@pytest.mark.parametrize(("kind", "form"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_integers_beside_floats(tmp_path, kind, form, dtype, how):
    floats = cells(np.array([[0.5, 0, 1e300]]), kind)
    for largest in (2**53, 2**60, LARGE):
        integers = np.array([[1, 0, 3], [0, largest, 0], [7, 0, 0]], dtype)
        path = tmp_path / f"{largest}"
        loader = Loader(batch_size=4, chunk_size=4, preload_nchunks=1, **form)
        loader.add_adatas([floats, stored(cells(integers, kind), path, how)])
        if largest == LARGE:
            with pytest.raises(
                ValueError, match=rf"`X` of dataset 1 must hold integers .* in float64, .* got {LARGE}: give"
            ):
                next(iter(loader))
            continue
        columns = ["abc".index(name) for name in form.get("var_names", "abc")]
        (batch,) = loader
        expected = np.concatenate([floats.X.toarray() if sp.issparse(floats.X) else floats.X, integers])
        np.testing.assert_array_equal(dense(batch), expected[:, columns], strict=True)


def test_rows_that_are_not_asked_for_may_hold_any(tmp_path):
    integers = np.array([[1, 2, 3], [4, LARGE, 6], [7, 8, 9]])
    loader = Loader(batch_size=2, chunk_size=1, preload_nchunks=2, rows=[0, 1, 3])
    loader.add_adatas([cells(np.eye(1, 3), np.asarray), cells(integers, np.asarray)])
    assert np.concatenate([dense(batch) for batch in loader]).tolist() == [[1, 0, 0], [1, 2, 3], [7, 8, 9]]


@pytest.mark.parametrize("options", [{"dtype": "f8"}, {"dtype": "f4"}, {"dtype": "i8"}])
def test_a_given_dtype_is_what_values_are_cast_to(options):
    loader = Loader(batch_size=2, **options)
    loader.add_adatas([cells(np.eye(1, 3), np.asarray), cells(np.array([[LARGE, 0, 1]]), np.asarray)])
    (batch,) = loader
    assert dense(batch)[1].tolist() == np.array([LARGE, 0, 1]).astype(options["dtype"]).tolist()


def test_only_integers_of_64_bits_are_looked_at():
    whole = [np.dtype(name) for name in ("u1", "i2", "u4", "i4", "u8", "i8")]
    floats = [np.dtype(name) for name in ("f2", "f4", "f8", "c8")]
    for stored_ in whole:
        for other in floats:
            common = np.result_type(stored_, other)
            assert may_round(stored_, common) == (stored_.itemsize == 8)
            limits = np.iinfo(stored_)
            if not may_round(stored_, common):
                assert all(int(np.array(end, stored_).astype(common).real) == end for end in (limits.min, limits.max))
        assert not may_round(stored_, stored_)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2), min_size=1, max_size=9), st.data())
def test_every_integer_is_exact_or_named(rows, data):
    values = np.array(rows, dtype=np.int64)
    start = np.array(sorted(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=9))), dtype=np.int64)
    out = np.zeros((len(start), 2))
    array = ExactArray(MemoryArray(values), out.dtype, "`X` of dataset 1")
    assert (array.describe(), array.items_decoded()) == (MemoryArray(values).describe(), 1)
    pieces = Pieces(start, np.ones_like(start), np.arange(len(start), dtype=np.int64) * 2)
    jobs = array.jobs(pieces, out.reshape(-1), n_jobs=2)
    rounded = [int(value) for value in values[start].ravel() if int(float(value)) != value]
    if rounded:
        with pytest.raises(ValueError, match=rf"`X` of dataset 1 must hold .* got {rounded[0]}: give"):
            [job() for job in jobs]
    else:
        [job() for job in jobs]
        np.testing.assert_array_equal(out, values[start])
