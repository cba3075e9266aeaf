"""Ranges of integers, against Python's own."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._plan.ranges import as_slices, concatenated_ranges, split_every


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


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=6))
def test_as_slices(parts):
    slices = as_slices(np.concatenate(parts), np.array([len(part) for part in parts]))
    assert [row for one in slices for row in range(one.start, one.stop)] == [row for part in parts for row in part]
    ends = np.cumsum([one.stop - one.start for one in slices])
    assert set(np.cumsum([len(part) for part in parts])) <= set(ends)
    assert len(slices) == sum(1 + int((np.diff(part) != 1).sum()) for part in parts)
