"""Ranges are joined within the limits, and each is covered by its request."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch._plan.requests import plan_requests


@st.composite
def ranges(draw):
    """Draw ranges in any order that do not overlap, like the chunks of shards."""
    parts = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 500), st.integers(1, 900)), max_size=30))
    ends = [0, 0, 0, 0]
    drawn = []
    for file, skip, length in parts:
        start = ends[file] + skip
        ends[file] = start + length
        drawn.append((file, start, ends[file]))
    drawn = draw(st.permutations(drawn))
    return np.array(drawn, dtype=np.int64).reshape(-1, 3).T


@settings(deadline=None, max_examples=100)
@given(ranges(), st.integers(0, 400), st.integers(1, 3000))
def test_requests_cover_all_ranges_and_nothing_else_but_gaps(drawn, gap, largest):
    file, start, stop = drawn

    plan = plan_requests(file, start, stop, gap=gap, largest=largest)

    assert (plan.file[plan.request] == file).all()
    assert (plan.start[plan.request] <= start).all()
    assert (plan.stop[plan.request] >= stop).all()
    for i in range(len(plan)):
        inside = np.flatnonzero(plan.request == i)
        begin, end = np.sort(start[inside]), np.sort(stop[inside])
        assert plan.start[i] == begin[0]
        assert plan.stop[i] == end[-1]
        assert (begin[1:] - end[:-1] <= gap).all()
        assert plan.stop[i] - plan.start[i] <= largest or len(inside) == 1


@settings(deadline=None, max_examples=100)
@given(ranges(), st.integers(0, 400), st.integers(1, 3000))
def test_no_byte_is_requested_twice_and_no_two_neighbours_could_be_one(drawn, gap, largest):
    plan = plan_requests(*drawn, gap=gap, largest=largest)

    for i in range(len(plan) - 1):
        if plan.file[i] == plan.file[i + 1]:
            assert plan.stop[i] <= plan.start[i + 1]
            near = plan.start[i + 1] - plan.stop[i] <= gap
            first = np.flatnonzero(plan.request == i + 1)
            length = drawn[2][first][np.argmin(drawn[1][first])] - plan.start[i]
            assert not near or length > largest


def one_by_one(file, start, stop, gap, largest):
    """Return the requests as a loop over the ranges, in their order, finds them."""
    found = []
    ranges = zip(file.tolist(), start.tolist(), stop.tolist(), strict=True)
    for number, a, b in sorted(ranges, key=itemgetter(0, 1)):
        joins = bool(found) and found[-1][0] == number and a <= found[-1][2] + gap
        if joins and (largest is None or b <= found[-1][2] or b - found[-1][1] <= largest):
            found[-1][2] = max(found[-1][2], b)
        else:
            found.append([number, a, b])
    return found


overlapping = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 900), st.integers(1, 300)), max_size=40)


@given(overlapping, st.integers(0, 60), st.none() | st.integers(1, 600))
def test_requests_are_those_of_a_loop_where_ranges_overlap_too(drawn, gap, largest):
    file, start, size = np.array(drawn, dtype=np.int64).reshape(-1, 3).T

    plan = plan_requests(file, start, start + size, gap=gap, largest=largest)

    found = np.stack([plan.file, plan.start, plan.stop], axis=1)
    assert found.tolist() == one_by_one(file, start, start + size, gap, largest)
    assert (plan.file[plan.request] == file).all()
    assert (plan.start[plan.request] <= start).all()
    assert (plan.stop[plan.request] >= start + size).all()


def test_a_range_longer_than_the_limit_stays_whole():
    plan = plan_requests(np.array([0]), np.array([5]), np.array([505]), gap=0, largest=100)

    assert plan.start.tolist() == [5]
    assert plan.stop.tolist() == [505]


def test_a_repeated_range_is_one_request():
    plan = plan_requests(np.array([0, 0]), np.array([5, 5]), np.array([50, 50]), gap=0, largest=10)

    assert plan.request.tolist() == [0, 0]
    assert len(plan) == 1
