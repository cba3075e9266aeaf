"""Rows that are drawn of groups: orders of chunks, and draws with replacement."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch.samplers import RowSet
from annbatch.samplers._group_rows import GroupRows, keys_of, occurrences

from .conftest import assert_drawn_by


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 99))
def test_an_order_has_every_row_once_and_begins_again(codes, chunk_size, seed):
    codes = np.array(codes)
    drawn = GroupRows(RowSet(slice(None), len(codes)), codes, 4)
    assert drawn.counts.tolist() == [(codes == group).sum() for group in range(4)]
    for group in np.flatnonzero(drawn.counts):
        mine, n = np.flatnonzero(codes == group), int(drawn.counts[group])
        rows = drawn.drawn(
            np.full(2 * n, group), np.arange(2 * n), np.full(2 * n, keys_of(seed, 1)[0]), chunk_size=chunk_size
        )
        assert sorted(rows[:n]) == mine.tolist()
        assert rows[n:].tolist() == rows[:n].tolist()
        follows = np.diff(np.searchsorted(mine, rows[: n + 1])) % n == (1 if n > 1 else 0)
        is_within = np.arange(1, n + 1) % chunk_size > 0
        is_within[-1] |= n % chunk_size > 0  # the first chunk follows the rest, which fills none
        assert follows[is_within].all()


def test_chunks_come_in_any_order_from_any_row_on():
    drawn = GroupRows(RowSet(slice(None), 11), np.zeros(11, int), 1)
    groups, keys = np.zeros(20_000, int), keys_of(0, np.arange(20_000))
    places = [drawn.drawn(groups, np.full(20_000, place), keys, chunk_size=2) for place in range(11)]
    for rows in places:
        assert_drawn_by(np.bincount(rows, minlength=11), np.full(11, 1 / 11))
    for place in (2, 4, 6, 8):
        assert_drawn_by(np.bincount((places[place] - places[0]) % 11 // 2 - 1, minlength=4), np.full(4, 1 / 4))


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
