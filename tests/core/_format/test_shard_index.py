"""The index of a shard: what is written is read back, and zarr agrees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from annbatch._format.codecs import ChunkCodecs
from annbatch._format.layout import ChunkLayout, chunk_layout
from annbatch._format.shard_index import ABSENT, ShardIndex, format_index, parse_index
from annbatch.errors import CorruptDataError


def layout(per_file: int) -> ChunkLayout:
    return ChunkLayout(
        folder=PurePath("x"),
        shape=(per_file,),
        dtype=np.dtype("u1"),
        chunk=1,
        per_file=per_file,
        sharded=True,
        index_first=False,
        index_checksum=True,
        codecs=ChunkCodecs(),
        fill_value=0,
        complete=False,
        keys=("c/", "/"),
    )


@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=8), st.integers(0, 3))
def test_an_index_is_read_as_it_was_written(sizes, n_absent):
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    per_file = len(sizes) + n_absent
    raw = format_index(list(zip(begins, sizes, strict=True)), per_file)
    offset, nbytes = parse_index(raw, layout(per_file), 0, sum(sizes) + len(raw), "x")
    assert offset.tolist() == begins + [ABSENT] * n_absent
    assert nbytes.tolist() == sizes + [0] * n_absent


def test_the_format_is_that_of_zarr(tmp_path):
    array = zarr.create_array(tmp_path / "a", shape=(50,), dtype="u1", chunks=(10,), shards=(60,), compressors=None)
    array[:] = np.arange(1, 51)
    how = chunk_layout(array)
    shard = (tmp_path / "a" / "c" / "0").read_bytes()
    offset, nbytes = parse_index(shard[-how.index_bytes :], how, 0, len(shard), "x")
    written = list(zip(offset[:5].tolist(), nbytes[:5].tolist(), strict=True))
    assert format_index(written, 6) == shard[-how.index_bytes :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[:-1], "x must hold a chunk index of 36 bytes, got 35"),
        (lambda raw: b"\1" + raw[1:], "x has a chunk index that does not match its checksum"),
        (lambda raw: format_index([(0, 60), (60, 41)], 2), "x has a chunk index that points beyond its 100 bytes"),
        (lambda raw: format_index([(2**64 - 2, 4)], 2), "x has a chunk index that points beyond its 100 bytes"),
        (lambda raw: format_index([(2**64 - 1, 10)], 2), "x has a chunk index that points beyond its 100 bytes"),
        (lambda raw: format_index([(0, 2**64 - 1)], 2), "x has a chunk index that points beyond its 100 bytes"),
    ],
    ids=["truncated", "flipped", "too long", "sum overflows", "no offset but a size", "no size but an offset"],
)
def test_a_damaged_index_is_refused(damage, message):
    with pytest.raises(CorruptDataError, match=message):
        parse_index(damage(format_index([(0, 10), (10, 20)], 2)), layout(2), 0, 100, "x")


@pytest.mark.parametrize(("number", "n_chunks", "lacking"), [(0, 2, 0), (0, 2, 1), (2, 5, 4)])
def test_an_index_that_lacks_a_chunk_of_a_complete_array_is_refused(number, n_chunks, lacking):
    complete = replace(layout(2), shape=(n_chunks,), complete=True)
    chunks = [(0, 10) if number * 2 + i != lacking else (2**64 - 1, 2**64 - 1) for i in range(2)]
    with pytest.raises(CorruptDataError, match=rf"s lacks chunk {lacking} of array x"):
        parse_index(format_index(chunks, 2), complete, number, 100, "s")
    parse_index(format_index(chunks[:1], 2), replace(complete, shape=(lacking,)), number, 100, "s")


def test_chunks_within():
    assert ShardIndex(np.array([0, 10, ABSENT]), np.array([10, 30, 0]), None).chunks_within(100) == 5
    assert ShardIndex(np.array([ABSENT]), np.array([0]), None).chunks_within(100) == 1
