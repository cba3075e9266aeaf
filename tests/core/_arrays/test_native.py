"""The native reader gives what zarr gives, bit for bit, and an error where bytes are damaged; never a crash."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from annbatch._arrays.library import ZarrLibraryArray
from annbatch._arrays.native import NativeArray
from annbatch._arrays.read_plan import plan_reads
from annbatch._format.layout import chunk_layout
from annbatch._kernels.copy import copy_address
from annbatch._kernels.decode import read_pieces
from annbatch._plan.pieces import Pieces
from annbatch.errors import CorruptDataError


def native(array: zarr.Array, **options: Any) -> NativeArray:
    layout = chunk_layout(array)
    assert layout is not None
    return NativeArray(layout, fallback=ZarrLibraryArray(array), **options)


def read(source: Any, start: list[int], length: list[int], dtype: Any = None, n_jobs: int = 3) -> np.ndarray:
    """Read pieces into one flat array, the last piece first, so that it is not read in order."""
    item = int(np.prod(source.shape[1:], dtype=int))
    start_, length_ = np.array(start, dtype=np.int64), np.array(length, dtype=np.int64)
    sizes = length_ * item
    dest = sizes[::-1].cumsum()[::-1] - sizes
    out = np.zeros(int(sizes.sum()), dtype=source.dtype if dtype is None else dtype)
    for job in source.jobs(Pieces(start_, length_, dest), out, n_jobs=n_jobs):
        job()
    return out


def expected(values: np.ndarray, start: list[int], length: list[int]) -> np.ndarray:
    parts = [values[a : a + n].reshape(-1) for a, n in zip(start, length, strict=True)]
    return np.concatenate(parts[::-1]) if parts else values[:0].reshape(-1)


def store(path: Path, values: np.ndarray, *, chunk: int, shard: int | None, compressors: Any) -> zarr.Array:
    rest = values.shape[1:]
    array = zarr.create_array(
        path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(chunk, *rest),
        shards=None if shard is None else (shard, *rest),
        compressors=compressors,
        overwrite=True,
    )
    array[:] = values
    return array


CODECS = {
    "none": None,
    "zlib, no shuffle": BloscCodec(cname="zlib", clevel=1, shuffle="noshuffle"),
    **{
        f"{cname} {shuffle}": BloscCodec(cname=cname, clevel=5, shuffle=shuffle)
        for cname, shuffle in itertools.product(["lz4", "lz4hc", "zstd", "blosclz"], ["shuffle", "bitshuffle"])
    },
    "stored": BloscCodec(cname="lz4", clevel=0, shuffle="noshuffle"),
    "small blocks": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", blocksize=512),
}


@pytest.mark.parametrize("shard", [None, 4_000], ids=["unsharded", "sharded"])
@pytest.mark.parametrize("codec", CODECS)
def test_pieces_of_a_flat_array(tmp_path: Path, codec: str, shard: int | None) -> None:
    values = np.random.default_rng(0).poisson(2, 30_011).astype("uint16")
    source = native(store(tmp_path / "a.zarr", values, chunk=1_000, shard=shard, compressors=CODECS[codec]))

    start = [0, 0, 1, 990, 2_500, 2_600, 2_700, 9_000, 29_999, 30_010]
    length = [1, 1, 500, 1_200, 3, 0, 1, 15_000, 12, 1]
    order = np.argsort(start, kind="stable")
    start, length = [start[i] for i in order], [length[i] for i in order]
    assert (read(source, start, length) == expected(values, start, length)).all()


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "uint16", "float16", "int32", "float32", "int64", "float64"]
)
def test_every_dtype_comes_back_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 256, 7_000 * np.dtype(dtype).itemsize, dtype="uint8").view(dtype)
    if dtype == "bool":
        values = values.view("uint8") > 100
    source = native(store(tmp_path / "a.zarr", values, chunk=512, shard=2_048, compressors=CODECS["lz4 shuffle"]))

    out = read(source, [3, 600, 5_000], [100, 2_000, 2_000])
    assert out.tobytes() == expected(values, [3, 600, 5_000], [100, 2_000, 2_000]).tobytes()


def test_values_are_copied_as_bytes_by_one_kernel(tmp_path: Path) -> None:
    def read_dtype(dtype: str) -> None:
        values = np.arange(100).astype(dtype)
        array = store(tmp_path / f"{dtype}.zarr", values, chunk=10, shard=None, compressors=None)
        np.testing.assert_array_equal(read(native(array), [3, 50], [20, 50]), expected(values, [3, 50], [20, 50]))

    read_dtype("uint8")
    compiled = len(read_pieces.signatures)  # type: ignore[attr-defined]
    for dtype in ("bool", "uint16", "int32", "float32", "float64", "float16"):
        read_dtype(dtype)
    assert len(read_pieces.signatures) == compiled  # type: ignore[attr-defined]


@pytest.mark.parametrize("target", ["float32", "float64", "int32", "float16", "complex64"])
def test_values_are_cast_on_the_way(tmp_path: Path, target: str) -> None:
    values = np.arange(5_000, dtype="uint16")
    source = native(store(tmp_path / "a.zarr", values, chunk=300, shard=900, compressors=CODECS["lz4 shuffle"]))

    out = read(source, [10, 400], [50, 4_000], dtype=target)
    assert out.dtype == target
    assert (out == expected(values, [10, 400], [50, 4_000]).astype(target)).all()


@pytest.mark.parametrize("shape", [(50, 7), (50, 3, 4, 5), (50, 1)], ids=str)
@pytest.mark.parametrize("codec", ["none", "lz4 shuffle"])
def test_rows_of_dense_arrays_of_any_dimension(tmp_path: Path, shape: tuple[int, ...], codec: str) -> None:
    values = np.random.default_rng(2).normal(size=shape).astype("float32")
    source = native(store(tmp_path / "a.zarr", values, chunk=8, shard=24, compressors=CODECS[codec]))

    rows = [0, 0, 3, 7, 8, 9, 30, 49]
    assert (read(source, rows, [1] * len(rows)) == expected(values, rows, [1] * len(rows))).all()


@given(data=st.data())
def test_any_pieces_of_any_chunking(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    n = data.draw(st.integers(1, 400))
    chunk = data.draw(st.integers(1, 90))
    shard = data.draw(st.sampled_from([None, 1, 3]))
    values = (
        np.random.default_rng(n).integers(0, 200, n).astype(data.draw(st.sampled_from(["uint8", "float32", "int64"])))
    )
    codec = CODECS[data.draw(st.sampled_from(["none", "lz4 shuffle", "small blocks"]))]
    array = store(
        tmp_path_factory.mktemp("a") / "a.zarr", values, chunk=chunk, shard=shard and chunk * shard, compressors=codec
    )
    start = sorted(data.draw(st.lists(st.integers(0, n - 1), max_size=20)))
    rows = {a: data.draw(st.integers(0, b - a)) for a, b in itertools.pairwise([*sorted(set(start)), n])}
    length = [rows[a] for a in start]  # the same row, the same length, and no row reaches into the next
    assert (read(native(array), start, length) == expected(values, start, length)).all()


@pytest.mark.parametrize("shard", [None, 400], ids=["unsharded", "sharded"])
def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path, shard: int | None) -> None:
    like_this: dict[str, Any] = {
        "shape": (2_000,),
        "dtype": "int16",
        "chunks": (100,),
        "shards": shard and (shard,),
        "fill_value": -7,
        "compressors": None,
    }
    array = zarr.create_array(tmp_path / "a.zarr", **like_this)
    array[250:300] = np.arange(50)
    values = np.full(2_000, -7, dtype="int16")
    values[250:300] = np.arange(50)
    assert (read(native(array), [0], [2_000]) == values).all()

    source = native(zarr.create_array(tmp_path / "b.zarr", **like_this))
    assert (read(source, [0, 1_950], [10, 50]) == -7).all()


def test_an_index_at_the_beginning_and_keys_as_in_zarr_v2(tmp_path: Path) -> None:
    values = np.arange(1_000, dtype="float32")
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(200,),
        compressors=None,
        serializer=zarr.codecs.ShardingCodec(
            chunk_shape=(50,), codecs=[zarr.codecs.BytesCodec()], index_location="start"
        ),
        chunk_key_encoding={"name": "v2", "separator": "."},
    )
    array[:] = values
    assert (read(native(array), [20, 333], [100, 600]) == expected(values, [20, 333], [100, 600])).all()


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": [BloscCodec(cname="snappy")]},
        {"compressors": [ZstdCodec(), ZstdCodec()]},
        {"compressors": [Crc32cCodec(), ZstdCodec()]},
        {"compressors": [numcodecs.Zstd()], "filters": [numcodecs.Delta("f4")], "zarr_format": 2},
        {"shape": (20, 6, 2), "chunks": (10, 6, 2), "order": "F", "zarr_format": 2},
        {"chunks": (10, 3), "compressors": None},
        {"chunks": (5, 6), "dtype": "uint16", "compressors": [BloscCodec(typesize=8)]},
    ],
    ids=[
        "snappy",
        "compressed twice",
        "checksum of values",
        "filter",
        "columns of images",
        "chunked columns",
        "items that do not fit",
    ],
)
def test_other_layouts_are_left_to_the_library_that_knows_them(tmp_path: Path, options: dict[str, Any]) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr", **{"shape": (20, 6), "dtype": "float32", "chunks": (10, 6), **options}
    )
    assert chunk_layout(array) is None


def test_a_store_in_memory_is_left_to_zarr() -> None:
    assert chunk_layout(zarr.create_array({}, shape=(5,), dtype="int32")) is None


def test_a_pickled_array_reads_the_same(tmp_path: Path) -> None:
    values = np.arange(100, dtype="int32")
    source = native(store(tmp_path / "a.zarr", values, chunk=10, shard=50, compressors=None))
    read(source, [0], [100])
    assert (read(pickle.loads(pickle.dumps(source)), [5], [90]) == values[5:95]).all()


def test_more_files_than_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annbatch._arrays.chunk_files.most_kept_open", lambda: 4)
    values = np.arange(2_000, dtype="int32")
    source = native(store(tmp_path / "a.zarr", values, chunk=10, shard=20, compressors=None))
    before = _n_open_files()
    for _ in range(3):
        assert (read(source, [0], [2_000]) == values).all()
    assert _n_open_files() <= before + 8


def test_a_window_in_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    values = np.arange(6_000, dtype="int32").reshape(-1, 4)
    array = store(tmp_path / "a.zarr", values, chunk=5, shard=None, compressors=None)
    source, rows = native(array), list(range(1_500))
    gc.collect()
    usual = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = _highest_open_file()
    filled = [os.dup(0) for _ in range(highest - _n_open_files())]  # lower numbers are as good as higher ones
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 50, usual[1]))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("annbatch._arrays.chunk_files.most_kept_open", lambda: 8)
            patch.setattr("annbatch._arrays.read_plan.most_per_read", lambda: 32)
            assert (read(source, rows, [1] * 1_500) == expected(values, rows, [1] * 1_500)).all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual)
        for number in filled:
            os.close(number)


def test_files_are_closed_with_their_array(tmp_path: Path) -> None:
    gc.collect()
    before = _n_open_files()
    source = native(store(tmp_path / "a.zarr", np.arange(100), chunk=10, shard=None, compressors=None))
    read(source, [0], [100])
    assert _n_open_files() > before
    del source
    gc.collect()
    assert _n_open_files() == before


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[zarr.Array, Path]:
    values = np.random.default_rng(0).poisson(3, 20_000).astype("uint16")
    array = store(tmp_path / "a.zarr", values, chunk=1_000, shard=20_000, compressors=CODECS["lz4 shuffle"])
    return array, tmp_path / "a.zarr" / "c" / "0"


def test_a_truncated_shard(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(CorruptDataError, match=rf"{path} has a chunk index that does not match its checksum"):
        read(native(array), [0], [100])


def test_a_shard_shorter_than_its_index(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptDataError, match=rf"{path} must hold a chunk index of 324 bytes, got 100"):
        read(native(array), [0], [100])


def test_a_flipped_byte_in_the_index(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    raw = bytearray(path.read_bytes())
    raw[-50] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptDataError, match=rf"{path} has a chunk index"):
        read(native(array), [0], [100])


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["lz4 shuffle", "lz4hc shuffle", "zstd bitshuffle", "small blocks"])
@pytest.mark.parametrize("at", range(16))
def test_a_flipped_bit_in_a_chunk_header_is_an_error_or_harmless(tmp_path: Path, codec: str, at: int) -> None:
    values = np.random.default_rng(0).poisson(3, 20_000).astype("uint16")
    array = store(tmp_path / "a.zarr", values, chunk=1_000, shard=20_000, compressors=CODECS[codec])
    path = tmp_path / "a.zarr" / "c" / "0"
    whole = path.read_bytes()
    intact = native(store(tmp_path / "b.zarr", values, chunk=1_000, shard=20_000, compressors=CODECS[codec]))
    place = _first_chunk(whole) + at
    for flip in [1 << bit for bit in range(8)]:
        raw = bytearray(whole)
        raw[place] ^= flip
        path.write_bytes(raw)
        for start, length in ([0], [1_000]), ([200], [30]):
            out: list[np.ndarray] = []
            error = _error_of(lambda a=start, n=length, out=out: out.append(read(native(array), a, n)))
            assert error is None or f"{path} " in error
            assert error is None or "chunk 0 (number 0 in its shard) of array" in error
            if at not in (2, 3):  # filter and size of items: nothing tells others from the right ones
                assert error is not None or (out[0] == expected(values, start, length)).all()
            assert (read(intact, [0], [20_000]) == values).all(), "damage must not spoil what is read next"


def test_flipped_bytes_anywhere_never_crash(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    errors = []
    for at in rng.integers(0, len(whole), 200):
        raw = bytearray(whole)
        raw[at] ^= int(rng.integers(1, 256))
        path.write_bytes(raw)
        errors.append(_error_of(lambda: read(native(array), [0], [20_000])))
    assert any(errors)
    assert all(error is None or f"{path} " in error for error in errors)


def test_a_chunk_replaced_by_zeros(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    raw = bytearray(path.read_bytes())
    begin = _first_chunk(raw)
    raw[begin : begin + 200] = bytes(200)
    path.write_bytes(raw)
    with pytest.raises(CorruptDataError, match=r"does not hold the expected chunk.*chunk 0 "):
        read(native(array), [0], [100])


def test_a_file_replaced_while_open(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    source = native(array)
    read(source, [0], [100])
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)
    with pytest.raises(CorruptDataError, match=rf"{path} was replaced or changed while it was open"):
        read(source, [0], [100])


def test_a_file_replaced_since_it_was_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annbatch._arrays.chunk_files.most_kept_open", lambda: 2)
    source = native(store(tmp_path / "a.zarr", np.arange(100), chunk=10, shard=None, compressors=None))
    assert (read(source, [0], [100]) == np.arange(100)).all()
    path = tmp_path / "a.zarr" / "c" / "0"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(CorruptDataError, match=rf"{path} was replaced or changed while it was open"):
        read(source, [0], [10])


def test_a_missing_chunk_of_a_shard_that_was_written_whole(tmp_path: Path) -> None:
    array = store(tmp_path / "a.zarr", np.arange(100), chunk=10, shard=100, compressors=None)
    array.attrs["annbatch-complete"] = True
    path = tmp_path / "a.zarr" / "c" / "0"
    raw = bytearray(path.read_bytes())
    raw[-164 + 16 * 3 : -164 + 16 * 4] = b"\xff" * 16
    raw[-4:] = value(bytes(raw[-164:-4])).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(CorruptDataError, match=rf"{path} lacks chunk 3 of array"):
        read(native(array), [0], [10])


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_a_pipe_or_folder_is_refused_without_waiting(damaged: tuple[zarr.Array, Path], kind: str) -> None:
    array, path = damaged
    path.unlink()
    (os.mkfifo if kind == "pipe" else os.mkdir)(path)
    with pytest.raises(CorruptDataError, match=rf"{path} is not a regular file"):
        read(native(array), [0], [100])


def test_items_of_a_size_that_no_value_has(tmp_path: Path) -> None:
    values = np.arange(4_000, dtype="uint16")
    array = store(tmp_path / "a.zarr", values, chunk=4_000, shard=None, compressors=CODECS["stored"])
    path = tmp_path / "a.zarr" / "c" / "0"
    raw = bytearray(path.read_bytes())
    raw[3] = 3
    path.write_bytes(raw)
    assert (read(native(array), [150], [3]) == [150, 151, 152]).all()
    with pytest.raises(CorruptDataError, match="does not hold the expected chunk"):
        read(native(array), [152], [3])


def test_a_file_removed_while_open(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    source = native(array)
    read(source, [0], [100])
    path.unlink()
    with pytest.raises(CorruptDataError, match=rf"{path} was removed while it was being read"):
        read(source, [0], [100])


def test_a_missing_shard_of_an_array_that_was_written_whole(damaged: tuple[zarr.Array, Path]) -> None:
    array, path = damaged
    array.attrs["annbatch-complete"] = True
    path.unlink()
    with pytest.raises(CorruptDataError, match=rf"{path} is missing, with chunks 0\.\.19 of array {path.parents[1]}"):
        read(native(array), [0], [100])


def test_an_uncompressed_file_cut_short_while_it_is_read(tmp_path: Path) -> None:
    values = np.arange(1_000, dtype="int32")
    array = store(tmp_path / "a.zarr", values, chunk=1_000, shard=None, compressors=None)
    path = tmp_path / "a.zarr" / "c" / "0"
    source, whole = native(array), Pieces(np.array([0]), np.array([1_000]), np.array([0]))
    reads = plan_reads(whole, chunk=1_000, gap=0, stretch=1_000)
    fields = whole.start, whole.length, whole.dest
    with source.locate(reads).opened() as there:
        os.truncate(path, 2_000)
        kernel_input = source.kernel_input(reads, whole, there, stored=np.dtype("u1"), scratch="decoded")
        out = np.empty(4_000, "u1")
        status, number, _ = read_pieces(
            kernel_input, reads.fields, fields, copy_address(out.dtype, out.dtype), 4, 4, out
        )
    assert str(source.error(status, number)).startswith(f"{path} is shorter than its index says (truncated?): chunk 0 ")


def test_column_numbers_beyond_the_matrix(tmp_path: Path) -> None:
    for bad in (10, -1):
        values = np.array([1, 2, bad, 3], dtype="int32")
        array = store(tmp_path / "a.zarr", values, chunk=4, shard=None, compressors=None)
        with pytest.raises(CorruptDataError, match="holds column numbers beyond the matrix"):
            read(native(array, limit=10), [0], [4])


def _first_chunk(raw: bytes | bytearray) -> int:
    """Return where chunk 0 begins, from the index at the end: 20 pairs of uint64, then a checksum."""
    return int(np.frombuffer(bytes(raw[-324:-4]), dtype="<u8")[0])


def _error_of(reading: Callable[[], Any]) -> str | None:
    try:
        reading()
    except CorruptDataError as error:
        return str(error)
    return None


def _n_open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def _highest_open_file() -> int:
    return max(int(entry.name) for entry in Path("/dev/fd").iterdir())
