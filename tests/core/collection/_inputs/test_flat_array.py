"""Chunks read without the HDF5 library equal those read with it; errors name damaged chunks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from annbatch.collection._inputs.flat_array import FlatArray
from annbatch.errors import CorruptDataError


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def collect(array: FlatArray, start: int, stop: int, pool: ThreadPoolExecutor) -> np.ndarray:
    out = np.empty(stop - start, array.dtype)

    def take(offset: int, values: np.ndarray) -> bool:
        out[offset : offset + len(values)] = values
        return True

    array.each(start, stop, take, pool)
    return out


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "u1", "i8"])
@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (7,)},
        {"chunks": (1000,)},
        {"chunks": (7,), "compression": "gzip"},
        {"chunks": (1000,), "compression": "lzf"},
        {"chunks": (100,), "compression": "gzip", "shuffle": True},
        {"chunks": (64,), "maxshape": (None,)},
    ],
)
def test_every_way_of_storing(tmp_path: Path, pool: ThreadPoolExecutor, dtype: str, storage: dict[str, object]) -> None:
    values = np.random.default_rng(0).integers(0, 100, 3001).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=values, **storage)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        array = FlatArray(file["x"])
        for start, stop in [(0, 3001), (5, 6), (6, 15), (2999, 3001), (10, 10)]:
            assert np.array_equal(collect(array, start, stop, pool), values[start:stop])


def test_chunks_that_were_never_written(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(100,), dtype="f4", chunks=(10,), fillvalue=3)[20:30] = 1
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert np.array_equal(collect(FlatArray(file["x"]), 0, 100, pool), file["x"][:])


def test_it_stops_on_request(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(4_000_000, "f4"), chunks=(1000,))
    calls = []

    def take(offset: int, values: np.ndarray) -> bool:
        calls.append(offset)
        return False

    with h5py.File(tmp_path / "a.h5", "r") as file:
        FlatArray(file["x"]).each(0, 4_000_000, take, pool)
    assert 1 <= len(calls) <= 2  # one per thread


def test_a_chunk_that_does_not_inflate(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = np.random.default_rng(0).integers(0, 9, 1000)
        chunk = file.create_dataset("x", data=values, chunks=(500,), compression="gzip").id.get_chunk_info(1)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 20] = bytes(20)
    (tmp_path / "a.h5").write_bytes(content)
    with (
        h5py.File(tmp_path / "a.h5", "r") as file,
        pytest.raises(CorruptDataError, match=r"Chunk 1 of .*x does not"),
    ):
        collect(FlatArray(file["x"]), 0, 1000, pool)
