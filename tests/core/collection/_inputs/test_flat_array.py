"""Chunks read without h5py or zarr equal those read with them; errors name damaged chunks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.codecs.numcodecs import Delta

from annbatch.collection._inputs.flat_array import FlatArray, ZarrChunks
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


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3 specification")
@pytest.mark.parametrize("dtype", ["<f4", ">u2", "u1", "i8"])
@pytest.mark.parametrize(
    "storage",
    [
        {"compressors": None},
        {"compressors": BloscCodec(cname="lz4", shuffle="shuffle", blocksize=256)},
        {"compressors": BloscCodec(cname="zstd", shuffle="shuffle"), "shards": (250,)},
        {"compressors": ZstdCodec()},
        {"compressors": GzipCodec(), "shards": (100,)},
        {"compressors": BloscCodec(cname="lz4", shuffle="shuffle"), "filters": "differences", "shards": (1000,)},
        {"compressors": None, "zarr_format": 2},
    ],
)
def test_every_way_of_storing_in_zarr(
    tmp_path: Path, pool: ThreadPoolExecutor, dtype: str, storage: dict[str, object]
) -> None:
    if storage.get("filters") == "differences":
        storage = storage | {"filters": [Delta(dtype=dtype)]}
    values = np.random.default_rng(0).integers(0, 100, 3001).astype(dtype)
    stored = zarr.create_array(tmp_path / "x", shape=values.shape, dtype=dtype, chunks=(50,), **storage)  # type: ignore[arg-type]  # one type for all
    stored[:] = values
    stored = zarr.open_array(tmp_path / "x", mode="r")
    values = stored[:]  # zarr itself reads other big-endian differences than it was given
    array = FlatArray(stored)
    for start, stop in [(0, 3001), (5, 6), (45, 155), (2999, 3001), (10, 10)]:
        assert np.array_equal(collect(array, start, stop, pool), values[start:stop])


def test_chunks_of_zarr_are_read_by_kernels(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    small = zarr.create_array(tmp_path / "small", shape=(100,), dtype="f4", chunks=(10,), fill_value=3)
    small[20:30] = 1  # the others are not stored
    assert isinstance(FlatArray(small)._chunks, ZarrChunks)
    assert np.array_equal(collect(FlatArray(small), 0, 100, pool), small[:])
    large = zarr.create_array(tmp_path / "large", data=np.arange(5_000_000, dtype="i4"), chunks=(5_000_000,))
    assert FlatArray(large)._chunks is None  # a thread would hold a chunk
    assert np.array_equal(collect(FlatArray(large), 3, 4_999_999, pool), np.arange(3, 4_999_999))
    strange = zarr.create_array({}, data=np.arange(100), chunks=(10,))
    assert FlatArray(strange)._chunks is None  # in memory
    assert np.array_equal(collect(FlatArray(strange), 3, 99, pool), np.arange(3, 99))


def test_a_damaged_chunk_of_zarr(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    zarr.create_array(tmp_path / "x", data=np.arange(1000), chunks=(100,))
    (tmp_path / "x" / "c" / "3").write_bytes(b"damaged")
    with pytest.raises(CorruptDataError, match=r"c/3 .*damaged.*chunk 3 of array .*x"):
        collect(FlatArray(zarr.open_array(tmp_path / "x", mode="r")), 0, 1000, pool)
