"""Narrowing returns every value bit for bit, in the smallest exact dtype."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annbatch.collection._inputs.narrow import CANDIDATES, Narrowing

DTYPES = ["f2", "f4", "f8", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


def bits(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def counts(dtype: str) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(dtype, st.integers(0, 40), elements=st.integers(0, 120))


def anything(dtype: str) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(dtype, st.integers(0, 40))


def whole(dtype: str) -> st.SearchStrategy[np.ndarray]:
    if dtype == "f2":
        low, high = -65504, 65504
    else:
        low, high = (-(2**31), 2**32) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return st.lists(st.integers(low, high), max_size=20).map(lambda numbers: np.array(numbers, dtype))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_blocks_come_back_bit_for_bit(dtype: str, data: st.DataObject) -> None:
    blocks = data.draw(st.lists(counts(dtype) | whole(dtype) | anything(dtype), min_size=1, max_size=4))
    narrowing = Narrowing(np.dtype(dtype))
    narrowed = [narrowing.narrow(block) for block in blocks]
    for block, narrow in zip(blocks, narrowed, strict=True):
        assert bits(narrow.astype(narrowing.dtype).astype(dtype)) == bits(block)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_the_dtype_is_the_smallest_exact_one(dtype: str, data: st.DataObject) -> None:
    values = data.draw(counts(dtype) | whole(dtype) | anything(dtype))
    narrowing = Narrowing(np.dtype(dtype))
    narrowing.narrow(values)
    with np.errstate(invalid="ignore", over="ignore"):
        able = [t for t in CANDIDATES if bits(values.astype(t).astype(dtype)) == bits(values)]
    # Casts can wrap around and back: the values must also be within the dtype's range.
    able = [t for t in able if all(np.iinfo(t).min <= v <= np.iinfo(t).max for v in values.tolist())]
    expected = able[0] if able and able[0].itemsize < np.dtype(dtype).itemsize else np.dtype(dtype)
    assert narrowing.dtype == expected


@pytest.mark.parametrize("value", [-0.0, 0.5, np.nan, np.inf, -np.inf, 2.0**32, -(2.0**31) - 2**20])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_that_no_integer_dtype_holds(value: float, dtype: str) -> None:
    narrowing = Narrowing(np.dtype(dtype))
    narrowing.narrow(np.array([1, 2], dtype))
    values = np.array([3, value], dtype)
    assert bits(narrowing.narrow(values)) == bits(values)
    assert narrowing.dtype == dtype


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 255], "f4", "u1"),
        ([0, 256], "f4", "u2"),
        ([-1, 127], "f4", "i1"),
        ([-1, 128], "f4", "i2"),
        ([2**31 - 128], "f8", "u4"),
        ([2**31], "f4", "f4"),
        ([-1, 2**31], "f8", "f8"),
        ([-(2**63), 2**63 - 1], "i8", "i8"),
        ([2**64 - 1], "u8", "u8"),
        ([3], "u1", "u1"),
        ([], "f4", "u1"),
    ],
)
def test_dtypes_at_the_limits(values: list[int], dtype: str, expected: str) -> None:
    narrowing = Narrowing(np.dtype(dtype))
    narrowed = narrowing.narrow(np.array(values, dtype))
    assert narrowing.dtype == narrowed.dtype == expected


def test_a_late_fraction_is_found() -> None:
    values = np.ones(200_000, np.float32)
    values[-1] = 0.5
    narrowing = Narrowing(np.dtype("f4"))
    assert bits(narrowing.narrow(values)) == bits(values)


def test_it_resumes_from_its_state() -> None:
    first = Narrowing(np.dtype("f4"))
    first.narrow(np.array([-3, 9], np.float32))
    second = Narrowing(np.dtype("f4"), first.state)
    second.narrow(np.array([200], np.float32))
    assert second.dtype == "i2"


def test_complex_and_boolean_keep_their_dtype() -> None:
    for dtype in ("?", "c8"):
        values = np.ones(3, dtype)
        assert Narrowing(np.dtype(dtype)).narrow(values).dtype == dtype
