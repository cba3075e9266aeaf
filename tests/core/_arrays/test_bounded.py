"""Chunks and metadata that ask for far more memory than is stored: refused; valid arrays are read as before."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numcodecs
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

from annbatch import DatasetCollection, Loader
from annbatch._arrays import bounded as module
from annbatch._arrays.bounded import bounded, bounded_whole, check_backed
from annbatch._arrays.open import open_array
from annbatch.errors import CorruptDataError, StoreError

HUGE = 1 << 31

V3 = {
    "gzip": [GzipCodec()],
    "zstd": [ZstdCodec()],
    "blosc": [BloscCodec()],
    "twice": [GzipCodec(), ZstdCodec(), Crc32cCodec()],
    "none": None,
}
V2 = {
    "gzip": numcodecs.GZip(),
    "zlib": numcodecs.Zlib(),
    "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(),
    "lz4": numcodecs.LZ4(),
    "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc(),
    "none": None,
}
VALUES = {
    "numbers": np.random.default_rng(0).integers(0, 99, (200, 7)),
    "zeros": np.zeros((200, 7), "f4"),
    "strings": np.array([f"ü{i}" * (i % 50) for i in range(300)], object),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize("codecs", V3.values(), ids=V3)
def test_valid_arrays_of_zarr_v3_are_read(codecs: Any, shards: bool, values: np.ndarray) -> None:
    tail = tuple(-(-size // 2) for size in values.shape[1:])
    array = zarr.create_array(
        {},
        shape=values.shape,
        dtype=str if values.dtype == object else values.dtype,
        chunks=(30, *tail),
        shards=(60, *tail) if shards else None,
        compressors=codecs,
    )
    array[...] = values
    once = bounded(array)
    for one in (once, bounded(once), bounded_whole(array)):
        np.testing.assert_array_equal(one[10:95], values[10:95])


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("codec", V2.values(), ids=V2)
def test_valid_arrays_of_zarr_v2_are_read(codec: Any, values: np.ndarray) -> None:
    array = zarr.create_array(
        {},
        shape=values.shape,
        dtype=str if values.dtype == object else values.dtype,
        chunks=(30, *values.shape[1:]),
        compressors=codec,
        filters="auto" if values.dtype == object else [numcodecs.Delta(values.dtype, astype="i8")],
        zarr_format=2,
    )
    array[...] = values
    np.testing.assert_array_equal(bounded(array)[10:95], values[10:95])


def test_errors_name_the_chunk(tmp_path: Path) -> None:
    numbers = np.arange(40)
    for made, chunk in (
        (zarr.create_array(tmp_path / "3.zarr", data=numbers, chunks=(8,), compressors=GzipCodec()), "c/3"),
        (
            zarr.create_array(tmp_path / "s.zarr", data=numbers, chunks=(2,), shards=(8,), compressors=GzipCodec()),
            "c/3",
        ),
        (zarr.create_array(tmp_path / "2.zarr", data=numbers, chunks=(8,), zarr_format=2, compressors=V2["lz4"]), "3"),
    ):
        (Path(str(made.store.root)) / chunk).write_bytes(b"nothing that anything decodes")
        with pytest.raises(Exception, match=re.escape(f"Chunk {chunk} of {made.store.root}")):  # its notes, too
            bounded(made)[:]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("a", data=numbers, chunks=(8,), compression="lzf")
        stored.id.write_direct_chunk((24,), b"nothing that anything decodes")
    with (
        h5py.File(tmp_path / "a.h5") as file,
        pytest.raises(CorruptDataError, match=r"Chunk at row 24 of `a` of .*a\.h5"),
    ):
        open_array(file["a"]).read(np.array([3]), np.array([30]))


def test_memory_may_exceed_what_is_stored_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BELIEVED_BYTES", 1000)
    options: dict[str, Any] = {"shape": (50_000, 4), "dtype": "f4", "chunks": (5_000, 4)}
    for array in (
        zarr.create_array(tmp_path / "a.zarr", **options),
        h5py.File(tmp_path / "a.h5", "w").create_dataset("a", **options, compression="gzip"),
    ):
        check_backed(array, 50)
        with pytest.raises(CorruptDataError, match=r"must have at least \d+ bytes stored for [\d,]+ bytes of memory"):
            check_backed(array)
        array[...] = 1  # which takes next to nothing on the disk
        check_backed(array)


def _gzip(n_bytes: int, window: int = 31) -> bytes:
    one = zlib.compressobj(9, zlib.DEFLATED, window)
    first, piece = (one.compress(bytes(1 << 24)) + one.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + piece * (n_bytes >> 24) + one.flush()


def _zstd(n_bytes: int, stated: bool) -> bytes:
    head = bytes([0xE0]) + struct.pack("<Q", n_bytes) if stated else bytes([0, 80])
    blocks = [struct.pack("<I", (128 << 10) << 3 | 2)[:3] + b"\0"] * (n_bytes >> 17)
    return b"\x28\xb5\x2f\xfd" + head + b"".join(blocks) + struct.pack("<I", 1)[:3]


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _array(store: Path, key: str) -> Path:
    """Return the folder of an array; strings are a group of two where pandas 3 writes them."""
    return store / key / "values" if (store / key / "values").exists() else store / key


def _chunks_of(key: str, content: Callable[[], bytes], codec: dict[str, Any] | None) -> Callable[[Path], None]:
    """Return a function that replaces the chunks of an array, and their compression."""

    def damage(store: Path) -> None:
        array = _array(store, key)
        head = json.loads((array / "zarr.json").read_text())["codecs"][0]
        _edit(array / "zarr.json", codecs=[head, *([codec] if codec else [])])
        data = content()
        for chunk in (array / "c").rglob("*"):
            if chunk.is_file():
                chunk.write_bytes(data)

    return damage


def _never_written(key: str, shape: list[int], chunk: list[int]) -> Callable[[Path], None]:
    def damage(store: Path) -> None:
        grid = {"name": "regular", "configuration": {"chunk_shape": chunk}}
        _edit(_array(store, key) / "zarr.json", shape=shape, chunk_grid=grid)
        shutil.rmtree(_array(store, key) / "c")

    return damage


def _long_rows(store: Path) -> None:
    for key in ("X/data", "X/indices"):
        _never_written(key, [HUGE], [1 << 20])(store)
    zarr.open_group(store)["X/indptr"][:] = np.array([0] + [HUGE] * 40)


def _hdf5(key: str, shape: tuple[int, ...] | None, **kwargs: Any) -> Callable[[Path], None]:
    """Return a function that makes a dataset one that is hardly there, or a chunk that inflates to gigabytes."""

    def damage(name: Path) -> None:
        with h5py.File(name, "r+") as file:
            path = key if isinstance(file[key], h5py.Dataset) else f"{key}/values"
            attributes, values = dict(file[path].attrs), file[path][()]
            del file[path]
            if shape is None:
                made = file.create_dataset(path, data=values, chunks=values.shape, compression="gzip", **kwargs)
                made.id.write_direct_chunk((0,) * values.ndim, _gzip(HUGE, 15))
            else:
                made = file.create_dataset(path, shape, dtype=values.dtype, **kwargs)
            made.attrs.update(attributes)

    return damage


_GZIP, _ZSTD = ({"name": name, "configuration": {"level": 1}} for name in ("gzip", "zstd"))
_ZSTD["configuration"]["checksum"] = False
_MANY_STRINGS = struct.pack("<I", HUGE) + b"abcdef"

ZARR = {
    "strings": _chunks_of("obs/_index", lambda: _MANY_STRINGS, None),
    "categories": _chunks_of("obs/label/categories", lambda: _MANY_STRINGS, None),
    "gzip uns": _chunks_of("uns/numbers", lambda: _gzip(HUGE), _GZIP),
    "gzip names": _chunks_of("obs/_index", lambda: _gzip(HUGE), _GZIP),
    "gzip X": _chunks_of("X/data", lambda: _gzip(HUGE), _GZIP),
    "zstd varm": _chunks_of("varm/eye", lambda: _zstd(HUGE, True), _ZSTD),
    "zstd column": _chunks_of("obs/n", lambda: _zstd(HUGE, False), _ZSTD),
    "zstd names": _chunks_of("obs/_index", lambda: _zstd(HUGE, False), _ZSTD),
    "long rows": _long_rows,
    "wide rows": _never_written("layers/dense", [40, 10**9], [1, 10**6]),
    "many names": _never_written("obs/_index", [10**11], [10**6]),
    "many categories": _never_written("obs/label/categories", [10**9], [10**6]),
    "many variables": _never_written("var/_index", [10**9], [10**6]),
    "many numbers": _never_written("uns/numbers", [10**9], [10**6]),
    "many chunks": _never_written("uns/numbers", [3 * 10**7], [1]),
}
HDF5 = {
    "wide rows": _hdf5("layers/dense", (40, 10**9), chunks=(1, 10**6)),
    "many names": _hdf5("obs/_index", (10**10,)),
    "many categories": _hdf5("obs/label/categories", (10**9,)),
    "many numbers": _hdf5("uns/numbers", (10**9,)),
    "gzip uns": _hdf5("uns/numbers", None),
    "gzip layer": _hdf5("layers/dense", None, shuffle=True),
    "gzip column": _hdf5("obs/n", None, shuffle=True),
    "gzip X": _hdf5("X/data", None),
}

# A gigabyte on top of what the process has: what takes more is a MemoryError.
READ = """
import json, resource, sys, warnings
from pathlib import Path
import h5py, zarr
from annbatch import DatasetCollection, Loader
warnings.simplefilter("ignore")
def load(path):
    group = zarr.open_group(path, mode="r") if Path(path).is_dir() else h5py.File(path)
    loader = Loader(batch_size=4, chunk_size=4, preload_nchunks=2, keys=("X", "layers/dense", "obs"), prefetch=0)
    for batch in loader.add_adata(group):
        pass
def convert(path):
    DatasetCollection(f"{path}.out").add_adatas([path], memory_limit="300MB", progress=False)
intact, *paths = sys.argv[1:]
load(intact), convert(intact)
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30),) * 2)
said = {}
for path in paths:
    for act in (load, convert):
        try:
            act(path)
            said[path, act.__name__] = "read"
        except Exception as error:
            said[path, act.__name__] = f"{type(error).__name__}: {error}"
print(json.dumps([[*key, text] for key, text in said.items()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux's means")
def test_hostile_stores_are_refused_in_little_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"n": rng.random(40), "label": pd.Categorical(["a", "b"] * 20)}, [f"cell{i}" for i in range(40)])
    dense = rng.integers(0, 3, (40, 20)).astype("f4")
    adata = ad.AnnData(sparse.csr_matrix(dense), obs, layers={"dense": dense})
    adata.uns["numbers"], adata.varm["eye"] = np.arange(10), np.eye(20)
    with ad.settings.override(auto_shard_zarr_v3=False):
        ad.io.write_elem(zarr.open_group(tmp_path / "intact.zarr", mode="w", zarr_format=3), "/", adata)
    adata.write_h5ad(tmp_path / "intact.h5ad")
    paths = []
    for name, damage in ZARR.items():
        paths.append(tmp_path / f"{name}.zarr")
        shutil.copytree(tmp_path / "intact.zarr", paths[-1])
        damage(paths[-1])
    for name, damage in HDF5.items():
        paths.append(tmp_path / f"{name}.h5ad")
        shutil.copy(tmp_path / "intact.h5ad", paths[-1])
        damage(paths[-1])
    command = [sys.executable, "-c", READ, str(tmp_path / "intact.zarr"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path, act, text in json.loads(done.stdout):
        unread = act == "load" and any(part in path for part in ("uns", "numbers", "chunks", "varm"))
        assert text.startswith(("CorruptDataError", "StoreError", "ValueError")) or (unread and text == "read"), text
        assert text == "read" or path in text, text


@pytest.mark.parametrize("key", ["X", "obs/v", "obs/word"])
def test_values_in_files_that_an_h5ad_file_names_are_refused(tmp_path: Path, key: str) -> None:
    obs = pd.DataFrame({"v": np.arange(4), "word": list("abcd")}, index=list("wxyz"))
    path = tmp_path / "a.h5ad"
    ad.AnnData(np.ones((4, 2), "f4"), obs=obs).write_h5ad(path, convert_strings_to_categoricals=False)
    os.mkfifo(tmp_path / "pipe")  # a reader would wait for a writer
    with h5py.File(path, "r+") as file:
        if isinstance(file[key], h5py.Group):  # strings of pandas 3
            key += "/values"
        shape, attributes = file[key].shape, dict(file[key].attrs)
        del file[key]
        dtype = "S1" if "word" in key else "i8"
        made = file.create_dataset(key, shape, dtype, external=[(str(tmp_path / "pipe"), 0, 100)])
        made.attrs.update(attributes)
    with pytest.raises(
        StoreError, match=f"`{key}` of .*a.h5ad must be stored in its own file, got values in b?'.*pipe"
    ):
        next(iter(Loader(batch_size=2, chunk_size=2, preload_nchunks=1).add_adata(path)))
    with pytest.raises(StoreError, match="must be stored in its own file"):
        DatasetCollection(tmp_path / "c").add_adatas([path], progress=False)


def test_values_of_a_virtual_dataset_come_from_its_own_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.ones((4, 3), np.float32)
    for name, source in (("own", "."), ("foreign", str(tmp_path / "other.h5"))):
        path = tmp_path / f"{name}.h5ad"
        ad.AnnData(np.zeros((4, 3), np.float32)).write_h5ad(path)
        with h5py.File(path, "r+") as file:
            attributes = dict(file["X"].attrs)
            file.move("X", "values")
            layout = h5py.VirtualLayout((4, 3), np.float32)
            layout[:] = h5py.VirtualSource(source, "values", (4, 3))
            file.create_virtual_dataset("X", layout).attrs.update(attributes)
    (batch,) = Loader(batch_size=4).add_adata(tmp_path / "own.h5ad")
    np.testing.assert_array_equal(batch["X"], np.zeros((4, 3)))
    with pytest.raises(
        StoreError, match=r"`X` of .*foreign\.h5ad must be stored in its own file, got values in '.*other\.h5'"
    ):
        next(iter(Loader(batch_size=4).add_adata(tmp_path / "foreign.h5ad")))
