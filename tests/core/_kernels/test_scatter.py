"""Each kernel compared with its NumPy oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.scatter import densify, fill_indptr, pad, scatter, scatter_cast
from annbatch.batch import CSR

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


def values(dtype: str, n: int, seed: int = 0) -> np.ndarray:
    """Return ``n`` values of every bit pattern that the dtype has, NaN and infinities among them."""
    bits = np.random.default_rng(seed).integers(0, 256, n * np.dtype(dtype).itemsize, dtype=np.uint8)
    return bits.view(dtype) if dtype != "?" else bits % 2 == 0


@st.composite
def copies(draw):
    """Return pieces of a source of some length, in any order and repeated, and places apart from each other."""
    size = draw(st.integers(0, 200))
    bounds = draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), max_size=12))
    start = np.array([min(pair) for pair in bounds], dtype=np.int64)
    length = np.array([abs(a - b) for a, b in bounds], dtype=np.int64)
    gaps = np.array(draw(st.lists(st.integers(0, 5), min_size=len(bounds), max_size=len(bounds))), dtype=np.int64)
    order = np.array(draw(st.permutations(range(len(bounds)))), dtype=np.int64)
    ends = np.cumsum((length + gaps)[order])
    dest = np.empty_like(start)
    dest[order] = ends - length[order]
    return size, start, length, dest, int(ends[-1]) + 3 if len(ends) else 3


def scatter_oracle(source, start, length, dest, out):
    for a, n, to in zip(start, length, dest, strict=True):
        out[to : to + n] = source[a : a + n].astype(out.dtype)


@given(copies(), st.sampled_from(DTYPES), st.integers(0, 9))
def test_equal_dtypes_are_copied_bit_for_bit(copy, dtype, seed):
    size, start, length, dest, out_size = copy
    source = values(dtype, size, seed)
    out = values(dtype, out_size, seed + 1)
    expected = out.copy()
    scatter_oracle(source, start, length, dest, expected)
    scatter_cast(source, start, length, dest, out)
    assert out.tobytes() == expected.tobytes()  # bytes between the pieces are unchanged


# From the stored to the requested dtype: narrowed counts restored, and casts that users request with `dtype`.
CASTS = [
    *[(stored, target) for stored in ("u1", "i1", "u2", "i2", "u4", "i4") for target in ("f4", "f8", "i8")],
    *[("?", "f4"), ("?", "u1"), ("u1", "u2"), ("u2", "i4"), ("u4", "i4"), ("u8", "f8"), ("i8", "f4"), ("u8", "i8")],
    *[("f4", "f8"), ("f8", "f4"), ("i4", "?"), ("f4", "?"), ("i4", "u1"), ("i8", "u2"), ("i1", "u8")],
    *[("f2", "f4"), ("f4", "f2"), ("u1", "f2"), ("f2", "f8"), ("f4", "c8"), ("c8", "c16"), ("u2", "c16"), ("f2", "c8")],
]


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "target"), CASTS)
def test_a_cast_gives_what_numpy_gives(stored, target):
    source = values(stored, 997)
    if source.dtype.kind in "fc":
        source[~np.isfinite(source)] = 0.25  # their casts to integers are the compiler's choice
    start, length, dest = np.array([0, 900, 5, 50]), np.array([40, 97, 0, 500]), np.array([600, 3, 0, 100])
    out = np.zeros(700, dtype=target)
    expected = out.copy()
    with np.errstate(over="ignore"):
        scatter_oracle(source, start, length, dest, expected)
        scatter_cast(source, start, length, dest, out)
    assert out.dtype == expected.dtype
    np.testing.assert_array_equal(out, expected)


def test_read_only_and_empty_sources_are_read():
    source = values("f4", 10)
    source.flags.writeable = False
    out = np.zeros(10, dtype="f4")
    scatter_cast(source, np.array([0]), np.array([10]), np.array([0]), out)
    assert out.tobytes() == source.tobytes()
    nothing = np.empty(0, dtype=np.int64)
    scatter_cast(np.empty(0, dtype="f4"), nothing, nothing, nothing, out)
    assert out.tobytes() == source.tobytes()


def test_scatter_casts_to_the_type_of_its_output():
    out = np.zeros(4, dtype=np.float32)
    scatter(np.array([1, 2, 65535], dtype=np.uint16), np.array([1]), np.array([2]), np.array([2]), out)
    assert out.tolist() == [0, 0, 2, 65535]


@given(st.lists(st.lists(st.integers(0, 1000), max_size=8), max_size=6), st.sampled_from([np.int32, np.int64]))
def test_every_batch_has_its_own_indptr(batches, dtype):
    length = np.array([n for batch in batches for n in batch], dtype=np.int64)
    edges = np.concatenate([[0], np.cumsum([len(batch) for batch in batches])]).astype(np.int64)
    begin = np.arange(len(batches) + 1, dtype=np.int64) * 16
    out = np.full(int(begin[-1]), -1, dtype=dtype)
    fill_indptr(length, edges, begin, out)
    expected = np.full_like(out, -1)
    for i, batch in enumerate(batches):
        expected[16 * i : 16 * i + len(batch) + 1] = np.concatenate([[0], np.cumsum(batch)])
    np.testing.assert_array_equal(out, expected)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6),
    st.sampled_from(["f4", "i4", "u2", "?", "c8"]),
    st.sampled_from([0, 1]),
)
def test_only_the_padding_is_padded(batches, dtype, value):
    filled = np.array([min(pair) for pair in batches], dtype=np.int64)
    capacity = np.array([max(pair) for pair in batches], dtype=np.int64)
    begin = np.arange(len(batches) + 1, dtype=np.int64) * 24
    out = values(dtype, int(begin[-1]))
    expected = out.copy()
    for i in range(len(batches)):
        expected[begin[i] + filled[i] : begin[i] + capacity[i]] = value
    pad(begin, filled, capacity, value, out)
    assert out.tobytes() == expected.tobytes()


@given(st.data(), st.sampled_from(["?", "u1", "i2", "i8", "u8", "f4", "f8", "c8"]))
def test_densify_adds_up_as_scipy_does(data, dtype):
    lengths = data.draw(st.lists(st.integers(0, 7), max_size=8))
    n_columns = data.draw(st.integers(1, 9))
    n = sum(lengths)
    indices = np.array(data.draw(st.lists(st.integers(0, n_columns - 1), min_size=n, max_size=n)), dtype=np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    stored = np.random.default_rng(n).integers(0, 100, n).astype(dtype)
    shape = (len(lengths), n_columns)
    expected = sp.csr_matrix((stored, indices, indptr), shape=shape).toarray()
    out = np.zeros(shape, dtype=dtype)
    densify(stored, indices, indptr, out)
    np.testing.assert_array_equal(out, expected)
    padded = CSR(np.append(stored, stored[:1]), np.append(indices, np.int32(n_columns)), indptr, shape).to_dense()
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.parametrize("column", [3, -1, 2**31 - 1])
def test_densify_refuses_a_column_outside_the_matrix(column):
    indices = np.array([0, column], dtype=np.int32)
    with pytest.raises(IndexError, match="`indices` must be columns of the matrix"):
        densify(np.ones(2, "f4"), indices, np.array([0, 2], dtype=np.int32), np.zeros((1, 3), "f4"))
