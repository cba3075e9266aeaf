"""The columns that are chosen of each row, compared with a sort in Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._kernels.neighbors import choose_neighbors


@given(
    lengths=st.lists(st.integers(0, 12), max_size=8),
    count=st.integers(1, 6),
    seed=st.integers(0, 10**6),
)
def test_the_largest_keys_come_first_and_the_row_itself_never(lengths: list[int], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    columns = np.concatenate([np.empty(0, np.int64), *(rng.choice(13, n, replace=False) for n in lengths)])
    keys = rng.choice([-np.inf, -1.0, 0.0, 0.5, 2.0], indptr[-1])
    rows = rng.integers(0, 13, len(lengths))
    chosen = np.empty((len(lengths), count), np.int64)
    choose_neighbors(keys, columns, indptr, rows, chosen)
    for i, row in enumerate(rows):
        places = [j for j in range(indptr[i], indptr[i + 1]) if columns[j] != row]
        places = sorted(places, key=lambda j: (-keys[j], columns[j]))[:count]
        assert chosen[i].tolist() == places + [-1] * (count - len(places))
