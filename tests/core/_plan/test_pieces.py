"""The layout of a window: batches are contiguous, aligned and apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annbatch._plan.pieces import ALIGNED_ELEMENTS, lay_out


@given(
    st.lists(st.lists(st.integers(0, 200), max_size=8), max_size=6),
    st.sampled_from([None, lambda n: n, lambda n: n + 3, lambda n: -(-n // 128) * 128]),
)
def test_batches_are_contiguous_aligned_and_apart(batches, capacity):
    lengths = np.array([length for batch in batches for length in batch], dtype=np.int64)
    edges = np.concatenate([[0], np.cumsum([len(batch) for batch in batches])]).astype(np.int64)
    layout = lay_out(lengths, edges, capacity)
    assert (layout.batch % ALIGNED_ELEMENTS == 0).all()
    assert layout.filled.tolist() == [sum(batch) for batch in batches]
    assert layout.capacity.tolist() == [sum(batch) if capacity is None else capacity(sum(batch)) for batch in batches]
    assert (layout.batch[:-1] + layout.capacity <= layout.batch[1:]).all()
    assert layout.size == layout.batch[-1]
    for i, batch in enumerate(batches):
        offsets = layout.batch[i] + np.concatenate([[0], np.cumsum(batch)[:-1]]) if batch else []
        np.testing.assert_array_equal(layout.offset[edges[i] : edges[i + 1]], offsets)


def test_a_capacity_below_what_a_batch_holds_is_refused():
    with pytest.raises(ValueError, match="`capacity` must return at least the 5 elements of the batch, got 4"):
        lay_out(np.array([2, 3]), np.array([0, 2]), lambda n: n - 1)
