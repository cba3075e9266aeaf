"""Heads of Blosc chunks tell which bytes hold which blocks; damaged ones tell nothing."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pytest

from annbatch._arrays import chunk_heads
from annbatch._arrays.chunk_heads import ChunkHeads
from annbatch._format.codecs import ChunkCodecs
from annbatch._format.layout import ChunkLayout
from annbatch._kernels.blosc_header import HEADER, STORED

BLOCK, N_BLOCKS = 64, 5
CHUNK = BLOCK * N_BLOCKS - 24  # the last block is shorter


def layout(per_file: int = 4) -> ChunkLayout:
    kind = np.dtype("u1")
    return ChunkLayout(
        PurePath("a"), (1000,), kind, CHUNK, per_file, True, False, False, ChunkCodecs("blosc"), 0, True, ("", "/")
    )


def head(table: list[int], nbytes: int, *, flags: int = 0, block: int = BLOCK, chunk: int = CHUNK) -> np.ndarray:
    numbers = np.array([flags << 16, chunk, block, nbytes, *table], "<i4")
    return numbers.view(np.uint8)[None]


def blocks(one: np.ndarray, nbytes: int, low: int, high: int) -> tuple[int, int]:
    found = ChunkHeads(layout(), BLOCK).blocks(one, *(np.array([n], np.int64) for n in (nbytes, low, high)))
    return int(found[0][0]), int(found[1][0])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1], [4, 3, 2, 1, 0]])
def test_the_bytes_of_blocks_are_found_in_any_order(order: list[int]) -> None:
    sizes, begin, table = [10, 7, 12, 9, 3], HEADER + 4 * N_BLOCKS, [0] * N_BLOCKS
    for number in order:
        table[number], begin = begin, begin + sizes[number]
    one = head(table, begin)
    for low in range(0, CHUNK, 7):
        for high in range(low + 1, CHUNK + 1, 11):
            needed = range(low // BLOCK, (high - 1) // BLOCK + 1)
            expected = min(table[i] for i in needed), max(table[i] + sizes[i] for i in needed)
            assert blocks(one, begin, low, high) == expected


def test_blocks_that_are_stored_uncompressed_lie_where_they_would() -> None:
    nbytes = HEADER + CHUNK
    one = head([0] * N_BLOCKS, nbytes, flags=STORED)
    assert blocks(one, nbytes, 70, 71) == (HEADER + 64, HEADER + 128)
    assert blocks(one, nbytes, 0, CHUNK) == (HEADER, nbytes)


@pytest.mark.parametrize(
    "one",
    [
        head([0] * N_BLOCKS, 200),
        head([-5] * N_BLOCKS, 200),
        head([36, 2_000_000_000, 60, 70, 80], 200),
        head([36, 46, 60, 70, 80], 199),
        head([36, 46, 60, 70, 80], 200, block=0),
        head([36, 46, 60, 70, 80], 200, block=-64),
        head([36, 46, 60, 70, 80], 200, block=1),
        head([36, 46, 60, 70, 80], 200, chunk=CHUNK + 1),
    ],
)
def test_damaged_heads_tell_nothing(one: np.ndarray) -> None:
    assert blocks(one, 200, 70, 71) == (0, 0)


def test_heads_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    n_chunks = -(-layout().size // CHUNK)
    assert ChunkHeads(layout(), BLOCK).per_table == n_chunks  # no larger than the array
    monkeypatch.setattr(chunk_heads, "_TABLE_BYTES", 2 * ChunkHeads(layout(), BLOCK).nbytes)
    heads = ChunkHeads(layout(), BLOCK)
    assert heads.per_table == 2
    monkeypatch.setattr(chunk_heads, "_MOST_BYTES", 3 * 2 * heads.nbytes)
    first, known = heads.table(0)
    known[1] = True
    for number in (1, 2, 0, 3):
        heads.table(number)
    assert heads.table(0)[0] is first  # was used since
    for number in range(1, 4):
        heads.table(number)
    assert not heads.table(0)[1].any()
    assert ChunkHeads(layout(), 0).nbytes <= 64 << 10
