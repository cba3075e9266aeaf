"""Strings are read within a number of bytes, whatever their lengths."""

from __future__ import annotations

from sys import getsizeof

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch.collection._inputs.text import SHORT, mean_bytes, read_within


@given(
    lengths=st.lists(st.tuples(st.integers(1, 700), st.sampled_from([0, 5, 300, 5000])), max_size=4),
    start=st.integers(0, 300),
    n_bytes=st.sampled_from([-1, 0, 100, 10_000, 10**6, 10**9]),
)
def test_strings_are_read_until_they_take_the_bytes(lengths, start, n_bytes):
    texts = np.array(["x" * size for count, size in lengths for _ in range(count)], object)
    start = min(start, len(texts))
    found, used = read_within(lambda a, b: texts[a:b], start, len(texts), n_bytes)
    assert found.tolist() == texts[start : start + len(found)].tolist()
    assert used == sum(map(getsizeof, found.tolist())) + 8 * len(found)
    assert len(found) <= 1 or used <= n_bytes
    assert len(found) or start == len(texts)
    if 0 < len(found) < len(texts) - start:  # not many more would have fitted
        more = texts[start : start + 2 * len(found) + 1].tolist()
        assert sum(map(getsizeof, more)) + 8 * len(more) > n_bytes


def test_sizes_are_looked_at_across_the_column():
    texts = np.array(["a"] * 1000 + ["b" * 10_000] * 1000, object)
    assert 4_000 < mean_bytes(lambda a, b: texts[a:b], len(texts)) < 6_000
    assert mean_bytes(lambda a, b: texts[a:b], 1000) == SHORT
    assert mean_bytes(lambda a, b: texts[a:b], 0) == SHORT
