"""Differences added up, compared with NumPy."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from annbatch._kernels.differences import add_up_address, add_up_by_address


@nb.njit
def call(address: int, differences: np.ndarray, before: int, limit: int) -> bool:
    return add_up_by_address(address, differences.ctypes.data, differences.nbytes, before, limit)


@given(dtype=st.sampled_from(["u1", "u2", "u4", "u8"]), n=st.integers(0, 150), data=st.data())
def test_any_values_come_back_from_their_differences(dtype: str, n: int, data: st.DataObject) -> None:
    before, *numbers = data.draw(arrays(dtype, n + 1)).tolist()
    values = np.array(numbers, dtype=dtype)
    differences = np.diff(values, prepend=values.dtype.type(before))  # wraps around
    largest = int(values.max(initial=0))
    limit = min(largest + 1, 2**63 - 1)  # bounds are numbers of columns
    signed = np.array(before, "u8").view("i8")[()]
    address = add_up_address(values.itemsize)
    assert call(address, differences, signed, limit) == (largest < limit)
    np.testing.assert_array_equal(differences, values)
    if 0 < largest < 2**63:
        assert not call(address, np.diff(values, prepend=values.dtype.type(0)), 0, largest)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "u8"])
def test_without_a_limit_the_largest_number_comes_back_too(dtype: str) -> None:
    values = np.array([0, np.iinfo(dtype).max, 1, 0] * 20, dtype)
    differences = np.diff(values, prepend=values.dtype.type(0))
    assert call(add_up_address(values.itemsize), differences, 0, -1)
    np.testing.assert_array_equal(differences, values)
