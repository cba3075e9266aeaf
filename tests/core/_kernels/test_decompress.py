"""Damaged chunks of every codec are errors that name file, chunk and array, or harmless; never a crash."""

from __future__ import annotations

import itertools
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs.numcodecs as in_v3
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from annbatch._arrays.open import open_array
from annbatch.errors import CorruptDataError

pytestmark = pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3:UserWarning")

N, CHUNK = 400_000, 100_000
VALUES = np.random.default_rng(0).poisson(2, N).astype("f4")
CODECS: dict[str, Any] = {
    "zstd": lambda: [ZstdCodec()],
    "zstd, its checksum": lambda: [ZstdCodec(checksum=True)],
    "zstd, crc32c": lambda: [ZstdCodec(), Crc32cCodec()],
    "gzip": lambda: [GzipCodec()],
    "zlib": lambda: [in_v3.Zlib()],
    "lz4": lambda: [in_v3.LZ4()],
    "crc32c": lambda: [Crc32cCodec()],
    "blosc, crc32c": lambda: [BloscCodec(), Crc32cCodec()],
}
CHECKED = {"zstd, its checksum", "zstd, crc32c", "gzip", "zlib", "crc32c", "blosc, crc32c"}


def stored(path: Path, codec: str) -> Path:
    """Write the values; return the file of the second of four chunks."""
    array = zarr.create_array(
        path, shape=(N,), dtype="f4", chunks=(CHUNK,), compressors=CODECS[codec](), overwrite=True
    )
    array[:] = VALUES
    return path / "c" / "1"


def read(path: Path, start: int, stop: int) -> np.ndarray:
    source = open_array(zarr.open_array(path, mode="r"))
    assert "native" in source.describe()
    return source.read(np.array([start]), np.array([stop - start]))[0]


def is_error(path: Path, chunk: Path, start: int, stop: int) -> bool:
    """Return whether reading fails, as it must name the chunk; what is read next is intact."""
    error = ""
    try:
        read(path, start, stop)
    except CorruptDataError as raised:
        error = str(raised)
    assert not error or (str(chunk) in error and f"chunk 1 of array {path}" in error)
    assert (read(path, 2 * CHUNK, 2 * CHUNK + 50) == VALUES[2 * CHUNK : 2 * CHUNK + 50]).all()
    return bool(error)


@pytest.mark.parametrize("codec", CODECS)
def test_a_chunk_is_decoded_up_to_the_last_value_that_is_needed(tmp_path: Path, codec: str) -> None:
    stored(tmp_path, codec)
    for start, stop in itertools.product((0, 40_000, 99_999, 100_000, 150_000), (100_000, 132_768, 180_001, 400_000)):
        if start < stop:
            assert (read(tmp_path, start, stop) == VALUES[start:stop]).all()


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_flipped_bytes(tmp_path: Path, codec: str) -> None:
    chunk, rng = stored(tmp_path, codec), np.random.default_rng(1)
    whole = chunk.read_bytes()
    errors = []
    for at in [*range(20), *rng.integers(0, len(whole), 40), *range(len(whole) - 10, len(whole))]:
        raw = bytearray(whole)
        raw[at] ^= int(rng.integers(1, 256))
        chunk.write_bytes(raw)
        errors.append(is_error(tmp_path, chunk, CHUNK, CHUNK + 100 * int(rng.integers(1, 1_000))))
    assert any(errors)
    # A gzip header has a time and a system that mean nothing, and zlib's a level.
    harmless = {"gzip": 7, "zlib": 1}.get(codec, 0)
    assert codec not in CHECKED or errors.count(False) <= harmless


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_and_extended_chunks(tmp_path: Path, codec: str) -> None:
    chunk = stored(tmp_path, codec)
    whole = chunk.read_bytes()
    for size in (0, 1, 3, 4, 5, 8, 12, 17, 100, len(whole) // 2, len(whole) - 1):
        chunk.write_bytes(whole[:size])
        assert is_error(tmp_path, chunk, CHUNK, 2 * CHUNK)
    chunk.write_bytes(whole + bytes(10_000_000))  # more than any chunk of this size takes
    assert is_error(tmp_path, chunk, CHUNK, CHUNK + 10)


@pytest.mark.parametrize("codec", CODECS)
def test_a_chunk_of_another_size(tmp_path: Path, codec: str) -> None:
    chunk = stored(tmp_path, codec)
    for size in (CHUNK // 2, CHUNK - 1, CHUNK + 1, 4 * CHUNK):
        other = zarr.create_array(
            tmp_path / "other", shape=(size,), dtype="f4", chunks=(size,), compressors=CODECS[codec](), overwrite=True
        )
        other[:] = 1
        chunk.write_bytes((tmp_path / "other" / "c" / "0").read_bytes())
        assert is_error(tmp_path, chunk, CHUNK, 2 * CHUNK)
        assert is_error(tmp_path, chunk, CHUNK, CHUNK + 10)


def zstd_frame(size: int) -> bytes:
    """Return a frame that states a size, and holds blocks that repeat one byte until it is reached, at most 64 MB."""
    blocks = [(1 << 17) << 3 | 2] * min(512, size >> 17)
    blocks[-1] |= 1
    return (
        b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"".join(b.to_bytes(3, "little") + b"\0" for b in blocks)
    )


BOMBS = {
    "zstd": [zstd_frame(1 << 26), zstd_frame(1 << 40), bytes(numcodecs.Zstd().encode(bytes(1 << 26)))],
    "gzip": [bytes(numcodecs.GZip().encode(bytes(1 << 26)))],
    "zlib": [zlib.compress(bytes(1 << 26))],
    "lz4": [n.to_bytes(4, "little") + bytes(numcodecs.LZ4().encode(bytes(1 << 26)))[4:] for n in (1 << 30, 4 * CHUNK)],
}


@pytest.mark.parametrize("codec", BOMBS)
def test_little_that_decodes_to_much_takes_no_memory(tmp_path: Path, codec: str) -> None:
    chunk = stored(tmp_path, codec)
    read(tmp_path, 0, 10)
    for bomb in BOMBS[codec]:
        chunk.write_bytes(bomb)
        tracemalloc.start()
        assert is_error(tmp_path, chunk, CHUNK, 2 * CHUNK)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20


def test_frames_and_members_that_follow_each_other(tmp_path: Path) -> None:
    raw = VALUES[CHUNK : 2 * CHUNK].tobytes()
    for codec, encode in (("zstd", numcodecs.Zstd().encode), ("gzip", numcodecs.GZip().encode)):
        path = tmp_path / codec
        chunk = stored(path, codec)
        chunk.write_bytes(bytes(encode(raw[:1_000])) + bytes(encode(raw[1_000:])))
        for stop in (CHUNK + 100, 2 * CHUNK):
            assert (read(path, CHUNK, stop) == VALUES[CHUNK:stop]).all()
