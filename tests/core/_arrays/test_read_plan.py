"""Which part of which chunk to decode: a pure plan, against a set of elements as its oracle."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from annbatch._arrays.read_plan import plan_reads
from annbatch._plan.pieces import Pieces


@st.composite
def ascending_pieces(draw: st.DrawFn) -> Pieces:
    steps = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=1, max_size=25))
    start, length, at = [], [], 0
    for gap, size in steps:
        repeat = draw(st.integers(1, 2))
        start += [at + gap] * repeat
        length += [size] * repeat
        at += gap + size
    return Pieces(np.array(start), np.array(length), np.arange(len(start)))


@given(ascending_pieces(), st.integers(1, 50), st.integers(0, 20), st.integers(1, 60))
def test_stretches_cover_every_piece_once(pieces: Pieces, chunk: int, gap: int, stretch: int) -> None:
    reads = plan_reads(pieces, chunk=chunk, gap=gap, stretch=stretch)

    requested = {e for a, n in zip(pieces.start, pieces.length, strict=True) for e in range(a, a + n)}
    covered = [e for a, b in zip(reads.start, reads.stop, strict=True) for e in range(a, b)]
    assert len(covered) == len(set(covered)), "an element is decoded twice"
    assert requested <= set(covered)


@given(ascending_pieces(), st.integers(1, 50), st.integers(0, 20), st.integers(1, 60))
def test_a_stretch_lies_in_one_chunk_and_is_no_longer_than_requested(
    pieces: Pieces, chunk: int, gap: int, stretch: int
) -> None:
    reads = plan_reads(pieces, chunk=chunk, gap=gap, stretch=stretch)

    assert (reads.start // chunk == reads.chunk).all()
    assert ((reads.stop - 1) // chunk == reads.chunk).all()
    assert (reads.stop > reads.start).all()
    assert (reads.stop - reads.start <= stretch).all()


@given(ascending_pieces(), st.integers(1, 50), st.integers(0, 20), st.integers(1, 60))
def test_the_first_piece_of_a_stretch_is_the_first_that_reaches_into_it(
    pieces: Pieces, chunk: int, gap: int, stretch: int
) -> None:
    reads = plan_reads(pieces, chunk=chunk, gap=gap, stretch=stretch)

    for start, first in zip(reads.start, reads.piece, strict=True):
        assert first == next(
            i for i, (a, n) in enumerate(zip(pieces.start, pieces.length, strict=True)) if a + n > start
        )


@given(ascending_pieces(), st.integers(1, 50), st.integers(0, 20), st.data())
def test_stretches_between_are_those_of_some_pieces_alone(
    pieces: Pieces, chunk: int, gap: int, data: st.DataObject
) -> None:
    reads = plan_reads(pieces, chunk=chunk, gap=gap, stretch=chunk)
    first = data.draw(st.integers(0, len(pieces) - 1))
    some = pieces.part(slice(first, data.draw(st.integers(first + 1, len(pieces)))))

    part, found = reads.between(int(some.start[0]), int(some.start[-1] + some.length[-1]), first)

    alone = plan_reads(some, chunk=chunk, gap=gap, stretch=chunk)
    assert (reads.chunk[part] == found.chunk).all()
    for ours, theirs in zip(found.fields, alone.fields, strict=True):
        assert ours.tolist() == theirs.tolist()


@given(ascending_pieces(), st.integers(1, 50), st.integers(0, 20))
def test_no_gap_wider_than_allowed_is_decoded(pieces: Pieces, chunk: int, gap: int) -> None:
    reads = plan_reads(pieces, chunk=chunk, gap=gap, stretch=10**6)

    requested = np.zeros(int((pieces.start + pieces.length).max()) + 1, dtype=bool)
    for a, n in zip(pieces.start, pieces.length, strict=True):
        requested[a : a + n] = True
    for a, b in zip(reads.start, reads.stop, strict=True):
        inside = requested[a:b]
        runs = np.diff(np.flatnonzero(np.concatenate([[True], inside, [True]]))) - 1
        assert runs.max(initial=0) <= gap
