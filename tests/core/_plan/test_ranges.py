"""Ranges of integers, against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._plan.ranges import concatenated_ranges, split_every


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10)), max_size=20))
def test_concatenated_ranges(ranges):
    expected = [row for start, length in ranges for row in range(start, start + length)]
    found = concatenated_ranges([start for start, _ in ranges], [length for _, length in ranges])
    assert found.dtype == np.int64
    assert found.tolist() == expected


@given(st.integers(0, 30), st.integers(1, 12))
def test_split_every(n, size):
    parts = split_every(np.arange(n), size)
    assert [row for part in parts for row in part] == list(range(n))
    assert all(len(part) == size for part in parts[:-1])
    assert all(0 < len(part) <= size for part in parts)
