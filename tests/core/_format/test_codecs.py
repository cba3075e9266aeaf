"""Every encoding of chunks that zarr's metadata name is read by kernels as zarr reads it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as in_v3
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

from annbatch._arrays.open import open_array
from annbatch._format.layout import chunk_layout
from annbatch._plan.pieces import Pieces

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3:UserWarning")

V3: dict[str, Any] = {
    "none": [],
    "crc32c": [Crc32cCodec()],
    "zstd": [ZstdCodec()],
    "zstd, its checksum": [ZstdCodec(checksum=True)],
    "zstd, crc32c": [ZstdCodec(), Crc32cCodec()],
    "gzip": [GzipCodec()],
    "blosc": [BloscCodec(cname="zstd")],
    "blosc, crc32c": [BloscCodec(cname="lz4"), Crc32cCodec()],
}
OF_NUMCODECS = ["Zstd", "GZip", "Zlib", "LZ4", "Blosc", "CRC32C"]
V2: dict[str, Any] = {
    "none": None,
    "zstd": numcodecs.Zstd(),
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "lz4": numcodecs.LZ4(),
    "blosc": numcodecs.Blosc(cname="blosclz"),
    "crc32c": numcodecs.checksum32.CRC32C(),
}
SHAPES = {"flat": (700,), "matrix": (700, 7), "images": (700, 3, 2)}
ROWS = np.array([0, 5, 6, 110, 350, 351, 352, 699]), np.array([1, 1, 30, 200, 1, 1, 1, 1])


def read(array: zarr.Array[Any]) -> tuple[str, np.ndarray]:
    """Return how some rows are read, and their values, one after the other."""
    start, length = ROWS
    item = int(np.prod(array.shape[1:], dtype=int))
    source = open_array(array)
    out = np.empty(int(length.sum()) * item, source.dtype)
    for job in source.jobs(Pieces(start, length, (np.cumsum(length) - length) * item), out, n_jobs=2):
        job()
    return source.describe(), out


def rows_of(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[a : a + n].reshape(-1) for a, n in zip(*ROWS, strict=True)])


def check(array: zarr.Array[Any], values: np.ndarray, *, native: bool = True) -> None:
    array[:] = values
    description, found = read(array)
    assert ("native" in description) == native
    np.testing.assert_array_equal(found, rows_of(values))


def values_of(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(0).poisson(3, shape).astype(dtype)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("codec", [*V3, *OF_NUMCODECS])
def test_codecs_of_v3(tmp_path: Path, codec: str, shape: tuple[int, ...], sharded: bool) -> None:
    compressors = V3[codec] if codec in V3 else [getattr(in_v3, codec)()]
    # All of them in one shape per codec, another one for the next codec; two in the others.
    every = [("little", "f4"), ("big", "i2"), ("big", "f4"), ("big", "u8"), ("little", "u1")]
    whole = list(SHAPES.values())[[*V3, *OF_NUMCODECS].index(codec) % 3] == shape
    for endian, dtype in every if whole else every[3:]:
        inner = [BytesCodec(endian=endian), *compressors]
        chunk, shard = (50, *shape[1:]), (150, *shape[1:])
        array = zarr.create_array(
            tmp_path / "a.zarr",
            shape=shape,
            dtype=dtype,
            chunks=shard if sharded else chunk,
            serializer=ShardingCodec(chunk_shape=chunk, codecs=inner) if sharded else inner[0],
            compressors=None if sharded else compressors,
            overwrite=True,
        )
        check(array, values_of(shape, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("codec", V2)
def test_codecs_of_v2(tmp_path: Path, codec: str, shape: tuple[int, ...]) -> None:
    for order, dtype in itertools.product("CF", ("<f4", ">i2", ">f8", "|b1")):
        array = zarr.create_array(
            tmp_path / "a.zarr",
            shape=shape,
            dtype=dtype,
            chunks=(50, *shape[1:]),
            compressors=V2[codec],
            order=order,
            chunk_key_encoding={"name": "v2", "separator": "./"[order == "F"]},
            zarr_format=2,
            overwrite=True,
        )
        check(array, values_of(shape, dtype), native=order == "C" or len(shape) < 3)


@pytest.mark.parametrize("sharded", [False, True], ids=["chunks", "shards"])
@pytest.mark.parametrize("codec", V3)
def test_transposed_chunks(tmp_path: Path, codec: str, sharded: bool) -> None:
    for shape, order in (((700,), (0,)), ((700, 7), (1, 0)), ((700, 3, 2), (1, 2, 0)), ((700, 3, 2), (2, 1, 0))):
        array = zarr.create_array(
            tmp_path / "a.zarr",
            shape=shape,
            dtype="i4",
            chunks=(50, *shape[1:]),
            shards=(150, *shape[1:]) if sharded else None,
            filters=TransposeCodec(order=order),
            serializer=BytesCodec(endian="big"),
            compressors=V3[codec] or None,
            overwrite=True,
        )
        check(array, values_of(shape, "i4"), native=order != (2, 1, 0))


def test_chunks_of_v2_that_were_never_written(tmp_path: Path) -> None:
    for fill in (None, 7):
        array = zarr.create_array(
            tmp_path / "a.zarr", shape=(700,), dtype=">i4", chunks=(50,), fill_value=fill, zarr_format=2, overwrite=True
        )
        array[110:120] = 3
        description, found = read(array)
        assert "native" in description
        np.testing.assert_array_equal(found, rows_of(array[:]))


def test_a_chunk_too_large_for_every_thread_to_decode_is_left_to_zarr(tmp_path: Path) -> None:
    for compressors, native in ((ZstdCodec(), False), (BloscCodec(), True)):
        array = zarr.create_array(
            tmp_path / "a.zarr",
            shape=(1 << 25,),
            dtype="i4",
            chunks=(1 << 25,),
            compressors=compressors,
            overwrite=True,
        )
        assert (chunk_layout(array) is not None) == native
