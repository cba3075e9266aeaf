"""HDF5 files read without HDF5: every way of storing gives what h5py reads."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from annbatch import Loader
from annbatch._arrays.open import open_array
from annbatch._plan.pieces import Pieces
from annbatch.errors import CorruptDataError

WAYS = {
    "contiguous": ({}, "HDF5 (native, uncompressed)"),
    "plain chunks": ({"chunks": 7}, "HDF5 (native, uncompressed)"),
    "one plain chunk, larger than the data": ({"chunks": 90, "maxshape": None}, "HDF5 (native, uncompressed)"),
    "gzip": ({"chunks": 7, "compression": "gzip"}, "HDF5 (gzip)"),
    "gzip, one chunk": ({"chunks": 90, "maxshape": None, "compression": "gzip"}, "HDF5 (gzip)"),
    "gzip and shuffle": ({"chunks": 7, "compression": "gzip", "shuffle": True}, "h5py"),
    "lzf": ({"chunks": 7, "compression": "lzf"}, "h5py"),
    "checksums": ({"chunks": 7, "fletcher32": True}, "h5py"),
}
N = 83


def stored(folder: Path, values: np.ndarray, **how) -> h5py.Dataset:
    """Return a dataset as it was written to a file; chunks are given in rows."""
    if "chunks" in how:
        how["chunks"] = (how["chunks"], *values.shape[1:])
    if "maxshape" in how:
        how["maxshape"] = (None, *values.shape[1:])
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, **how)
    return h5py.File(path, "r")["x"]


def read(array, start: np.ndarray, length: np.ndarray, dtype) -> list[np.ndarray]:
    item = int(np.prod(array.shape[1:], dtype=int))
    dest = (np.cumsum(length) - length) * item
    out = np.empty(int(length.sum()) * item, dtype)
    for job in array.jobs(Pieces(start, length, dest), out, n_jobs=2):
        job()
    return np.split(out.reshape(-1, *array.shape[1:]), np.cumsum(length)[:-1])


@pytest.mark.parametrize("item", [(), (3,), (2, 2)], ids=["flat", "rows", "images"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "u1", "i8", "?"])
@pytest.mark.parametrize(("how", "description"), WAYS.values(), ids=WAYS)
def test_every_way_of_storing(tmp_path, how, description, dtype, item):
    values = np.random.default_rng(0).integers(0, 100, (N, *item)).astype(dtype)
    array = open_array(stored(tmp_path, values, **how))
    assert array.describe() == (description if dtype not in (">f4", "?") else "h5py")
    start, length = np.array([0, 5, 5, 6, 40, 82]), np.array([1, 1, 2, 30, 0, 1])
    twin = pickle.loads(pickle.dumps(array))
    for one in (array, twin):
        for target in (np.dtype(dtype).newbyteorder("="), np.dtype("f8")):
            for found, a, n in zip(read(one, start, length, target), start, length, strict=True):
                np.testing.assert_array_equal(found, values[a : a + n].astype(target))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, 20)), min_size=1, max_size=12), st.sampled_from([3, 50])
)
def test_any_pieces_of_gzip_chunks(tmp_path_factory, pieces, chunk):
    values = np.arange(N, dtype="i4")
    array = open_array(stored(tmp_path_factory.mktemp("gzip"), values, chunks=chunk, compression="gzip"))
    start = np.sort(np.array([a for a, _ in pieces]))
    length = np.minimum([n for _, n in pieces], N - start)
    for found, a, n in zip(read(array, start, length, np.dtype("i4")), start, length, strict=True):
        np.testing.assert_array_equal(found, values[a : a + n])


def test_a_file_that_is_being_written_is_left_to_h5py(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        assert open_array(file.create_dataset("x", data=np.arange(9))).describe() == "h5py"


def test_a_truncated_file(tmp_path):
    values = np.arange(100_000, dtype="f4")
    dataset = stored(tmp_path, values)
    array = open_array(dataset)
    path = Path(dataset.file.filename)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(CorruptDataError, match=r"a.h5/x is shorter than its index says"):
        read(array, np.array([0]), np.array([100_000]), np.dtype("f4"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"compression": "gzip"}, r"Chunk 3 of .*a.h5/x does not inflate"),
        ({"compression": "gzip", "shuffle": True}, r"`x` of .*a.h5 cannot be read, OSError"),
        ({"fletcher32": True}, r"`x` of .*a.h5 cannot be read, OSError"),
    ],
    ids=["gzip", "through h5py", "checksums"],
)
def test_a_damaged_chunk(tmp_path, how, message):
    dataset = stored(tmp_path, np.arange(9_000), chunks=100, **how)
    array = open_array(dataset)
    info = dataset.id.get_chunk_info(3)
    path = Path(dataset.file.filename)
    data = bytearray(path.read_bytes())
    data[info.byte_offset + 2 : info.byte_offset + 30] = bytes(28)
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptDataError, match=message):
        read(array, np.array([0]), np.array([9_000]), np.dtype("i8"))


def test_read_amplification_is_reported_once(tmp_path, monkeypatch):
    monkeypatch.setattr("annbatch._loading.stats._MIN_DECODED", 0)
    matrix = sp.random(2_000, 50, 0.2, format="csr", dtype="f4", random_state=0)
    for compression in ("gzip", None):
        ad.AnnData(matrix).write_h5ad(tmp_path / f"{compression}.h5ad", compression=compression)

    def loader(name, chunk_size):
        adata = ad.read_h5ad(tmp_path / name, backed="r")
        return Loader(batch_size=20, chunk_size=chunk_size, preload_nchunks=20, shuffle=True, seed=0).add_adata(adata)

    costly = loader("gzip.h5ad", 1)
    message = r"Reading decodes \d+ times the values that batches hold.*HDF5 \(gzip\)"
    with pytest.warns(UserWarning, match=message) as warned:
        assert sum(batch["X"].shape[0] for _ in range(2) for batch in costly) == 4_000
    assert len(warned) == 1
    assert warned[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for efficient in (loader("None.h5ad", 1), loader("gzip.h5ad", 500)):
            assert sum(batch["X"].shape[0] for batch in efficient) == 2_000
