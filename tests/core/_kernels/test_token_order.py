"""The order of values within a row: what a stable sort gives, however they are distributed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annbatch._kernels.token_order import order_descending

NUMBERS = st.one_of(
    st.integers(1, 4).map(float),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value or 1.0),
)


def oracle(values: np.ndarray) -> np.ndarray:
    return np.argsort(-values, kind="stable")


@given(hnp.arrays(np.float64, st.integers(0, 200), elements=NUMBERS), st.integers(0, 210))
def test_it_is_a_stable_sort(values, n_first):
    expected = oracle(values)
    assert order_descending(values, n_first)[:n_first].tolist() == expected[:n_first].tolist()
    assert order_descending(values, len(values)).tolist() == expected.tolist()


@pytest.mark.parametrize("spread", [1e-12, 1.0, 10.0, 300.0])
def test_many_values(spread):
    rng = np.random.default_rng(0)
    values = np.concatenate([10 ** rng.uniform(-spread, spread, 3000), [1e300, 1e-300, -5.0]])
    for n_first in (1, 10, 1500, len(values)):
        assert order_descending(values, n_first)[:n_first].tolist() == oracle(values)[:n_first].tolist()


@pytest.mark.parametrize("far", [[], [2.0], [1e-3, 1e3]])
def test_the_largest_of_values_that_only_float64_tells_apart(far):
    values = np.concatenate([1 + np.random.default_rng(0).permutation(3000) * 1e-12, far])
    for n_first in (1, 10, 1500, 2999):
        assert order_descending(values, n_first)[:n_first].tolist() == oracle(values)[:n_first].tolist()


def test_one_far_away_leaves_all_others_in_one_bucket():
    values = np.append(1 + np.random.default_rng(0).random(2000) * 1e-9, 1e308)
    assert order_descending(values, len(values)).tolist() == oracle(values).tolist()
