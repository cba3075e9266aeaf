"""Rows that are drawn of groups: orders of chunks, and draws with replacement."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch.samplers import RowSet
from annbatch.samplers._group_rows import GroupRows, keys_of, occurrences

from .conftest import assert_drawn_by


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_an_order_has_every_row_once(codes, chunk_size, overlap, seed):
    codes = np.array(codes)
    drawn = GroupRows(RowSet(slice(None), len(codes)), codes, 4)
    assert drawn.counts.tolist() == [(codes == group).sum() for group in range(4)]
    for group in np.flatnonzero(drawn.counts):
        mine, n = np.flatnonzero(codes == group), int(drawn.counts[group])
        size = chunk_size if n >= chunk_size else 1
        n_drawn = -(-n // size) * size if overlap else n // size * size
        groups, keys = np.full(n_drawn, group), np.full(n_drawn, keys_of(seed, 1)[0])
        options = {"chunk_size": chunk_size, "least": chunk_size, "overlap": overlap}
        rows = drawn.drawn(groups, np.arange(n_drawn), keys, **options)
        assert set(rows) <= set(mine)
        if overlap:
            assert set(rows) == set(mine)
        else:
            assert len(set(rows)) == n_drawn
        places = np.searchsorted(mine, rows).reshape(-1, size)
        assert (np.diff(places, axis=1) % n == (1 if n > 1 else 0)).all()
        again = drawn.drawn(groups, np.arange(n_drawn) + n_drawn, keys, **options)
        assert again.tolist() == rows.tolist()


def test_draws_with_replacement_are_alike_for_all_rows():
    codes = np.repeat([0, 1], [7, 3])
    drawn = GroupRows(RowSet(slice(None), 10), codes, 2)
    groups = np.arange(20_000) % 2
    rows = drawn.drawn_again(groups, keys_of(0, np.arange(20_000)), chunk_size=2, n_chunks=3).reshape(-1, 6)
    assert (codes[rows] == groups[:, None]).all()
    assert_drawn_by(np.bincount(rows[::2, 0], minlength=7), np.full(7, 1 / 7))
    assert_drawn_by(np.bincount(rows[1::2, 4] - 7, minlength=3), np.full(3, 1 / 3))


@given(st.lists(st.integers(0, 5)))
def test_occurrences(values):
    seen: dict[int, int] = {}
    for value, found in zip(values, occurrences(np.array(values, dtype=int)), strict=True):
        assert found == seen.get(value, 0)
        seen[value] = found + 1


def test_keys_differ_by_every_number():
    keys = {int(key) for a in range(20) for b in range(20) for key in keys_of(3, a, np.array([b]))}
    assert len(keys) == 400
