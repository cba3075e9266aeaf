"""Every storage kind gives what NumPy, SciPy, anndata and h5py read: one suite, many stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import read_elem, sparse_dataset, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, ZstdCodec

from annbatch import Loader, write_sharded
from annbatch._arrays.array import split_evenly
from annbatch._arrays.library import ZarrLibraryArray
from annbatch._arrays.open import open_rows
from annbatch._arrays.rows import CsrSource
from annbatch._plan.pieces import Pieces
from annbatch.errors import CorruptDataError

# A store is a function of a matrix and an empty folder; it returns what a user would hand to the loader. A new storage
# kind is one more line here.
Store = Callable[[Any, Path], Any]


def zarr_store(*, chunk: int = 50, shard: int | None = None, zarr_format: int = 3, **options: Any) -> Store:
    """Return a store in a local zarr array or group; ``shard`` counts chunks."""

    def write(matrix: Any, folder: Path) -> Any:
        root = zarr.open_group(folder / "store.zarr", mode="w", zarr_format=zarr_format)
        return write_zarr(root, matrix, chunk=chunk, shard=shard, **options)

    return write


def write_zarr(root: zarr.Group, matrix: Any, *, chunk: int, shard: int | None, **options: Any) -> Any:
    def array(group: zarr.Group, name: str, values: np.ndarray, items: int) -> zarr.Array[Any]:
        items = max(1, min(items, len(values)))
        tail = tuple(max(1, n) for n in values.shape[1:])
        shards = None if shard is None else (items * shard, *tail)
        made = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(items, *tail), shards=shards, **options
        )
        if values.size:
            made[...] = values
        return made

    if not sp.issparse(matrix):
        return array(root, "X", matrix, max(1, chunk // 10))
    attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(matrix.shape)}
    group = root.create_group("X", attributes=attributes)
    array(group, "data", matrix.data, chunk)
    array(group, "indices", matrix.indices.astype(np.min_scalar_type(matrix.shape[1])), chunk)
    array(group, "indptr", matrix.indptr.astype(np.int64), chunk)
    return group


def in_memory_zarr(matrix: Any, folder: Path) -> Any:
    return write_zarr(zarr.open_group(zarr.storage.MemoryStore(), mode="w"), matrix, chunk=50, shard=3)


def zip_zarr(matrix: Any, folder: Path) -> Any:
    with zarr.storage.ZipStore(folder / "store.zip", mode="w") as store:
        write_zarr(zarr.open_group(store, mode="w"), matrix, chunk=50, shard=3)
    return zarr.open_group(zarr.storage.ZipStore(folder / "store.zip", mode="r"), mode="r")["X"]


def write_with_anndata(adata: ad.AnnData, path: Path) -> zarr.Group:
    group = zarr.open_group(path, mode="w")
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "/", adata)
    return group


def written_by_anndata(suffix: str, **options: Any) -> Store:
    """Return a store as anndata itself writes it."""

    def write(matrix: Any, folder: Path) -> Any:
        adata = ad.AnnData(matrix) if matrix.ndim == 2 else ad.AnnData(obsm={"X": matrix})
        path = folder / f"store{suffix}"
        if suffix == ".h5ad":
            adata.write_h5ad(path, **options)
            group: Any = h5py.File(path, "r")
        else:
            group = write_with_anndata(adata, path)
        return group["X"] if matrix.ndim == 2 else group["obsm/X"]

    return write


def written_by_annbatch(layout: str) -> Store:
    """Return a store as this package writes it."""

    def write(matrix: Any, folder: Path) -> Any:
        adata = ad.AnnData(matrix) if matrix.ndim == 2 else ad.AnnData(obsm={"X": matrix})
        group = zarr.open_group(folder / "store.zarr", mode="w", zarr_format=3)
        write_sharded(group, adata, n_obs_per_chunk=7, shard_size=21, layout=layout)
        return group["X"] if matrix.ndim == 2 else group["obsm/X"]

    return write


def wrapped_by_anndata(matrix: Any, folder: Path) -> Any:
    group = zarr_store()(matrix, folder)
    return sparse_dataset(group) if sp.issparse(matrix) else group


BLOSC = BloscCodec(cname="lz4", shuffle="shuffle", blocksize=256)
STORES: dict[str, Store] = {
    "memory": lambda matrix, folder: matrix,
    "zarr": zarr_store(),
    "zarr, one chunk": zarr_store(chunk=10**6),
    "zarr, small chunks": zarr_store(chunk=7, compressors=BLOSC),
    "zarr, gzip": zarr_store(compressors=GzipCodec()),
    "zarr, blosc lz4": zarr_store(compressors=BLOSC),
    "zarr, blosc zstd bitshuffle": zarr_store(compressors=BloscCodec(cname="zstd", shuffle="bitshuffle")),
    "zarr, blosc noshuffle": zarr_store(compressors=BloscCodec(cname="blosclz", shuffle="noshuffle")),
    "zarr, blosc of items that do not nest": zarr_store(compressors=BloscCodec(typesize=5, shuffle="shuffle")),
    "zarr, two codecs": zarr_store(compressors=[GzipCodec(), ZstdCodec()]),
    "zarr, no codec": zarr_store(compressors=None),
    "zarr, big endian": zarr_store(compressors=None, serializer=BytesCodec(endian="big")),
    "zarr, sharded zstd": zarr_store(shard=3),
    "zarr, sharded blosc lz4": zarr_store(shard=3, compressors=BLOSC),
    "zarr, sharded no codec": zarr_store(shard=4, compressors=None),
    "zarr, one shard": zarr_store(shard=10**5, compressors=BLOSC),
    "zarr v2": zarr_store(zarr_format=2),
    "zarr v2, no codec": zarr_store(zarr_format=2, compressors=None),
    "zarr in memory": in_memory_zarr,
    "zarr in a zip file": zip_zarr,
    "zarr by anndata": written_by_anndata(".zarr"),
    "anndata's wrapper": wrapped_by_anndata,
    "annbatch, compact": written_by_annbatch("compact"),
    "annbatch, portable": written_by_annbatch("portable"),
    "h5ad": written_by_anndata(".h5ad"),
    "h5ad, gzip": written_by_anndata(".h5ad", compression="gzip"),
}

N_ROWS = 83
THREADS = ThreadPoolExecutor(2)


def random_csr(dtype: str, n_columns: int = 300) -> sp.csr_matrix:
    """Return rows of 0 to 30 values, runs of empty ones among them."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 31, N_ROWS) * (rng.random(N_ROWS) < 0.8)
    lengths[:3] = lengths[40:45] = lengths[-2:] = 0
    indices = np.concatenate([np.sort(rng.permutation(n_columns)[:n]) for n in lengths]).astype(np.int32)
    return sp.csr_matrix(
        (random_values(rng, dtype, len(indices)), indices, np.concatenate([[0], np.cumsum(lengths)])),
        shape=(N_ROWS, n_columns),
    )


def random_values(rng: np.random.Generator, dtype: str, shape: Any) -> np.ndarray:
    """Return small and largest values, negative ones and fractions, as the dtype has them."""
    kind = np.dtype(dtype).kind
    if kind in "iu":
        info = np.iinfo(dtype)
        values = rng.integers(0, 100, shape).astype(dtype)
        edges = np.array([info.min, info.max, 1], dtype=dtype)
        return np.where(rng.random(shape) < 0.2, rng.choice(edges, shape), values)
    values = rng.normal(size=shape) + (1j * rng.normal(size=shape) if kind == "c" else 0)
    return values > 0 if kind == "b" else values.astype(dtype)


ROWS = {
    "none": [],
    "all": range(N_ROWS),
    "single ones": [0, 50, N_ROWS - 1],
    "empty ones": [0, 1, 2, 41],
    "repeated": [4, 4, 4, 5, 41, 41, 80, 80],
    "every third": range(0, N_ROWS, 3),
    "two runs": [*range(10, 30), *range(55, 70)],
}


def read_rows(source: Any, rows: np.ndarray, order: np.ndarray, dtype: Any = None) -> Any:
    """Read ascending ``rows`` to the places that ``order`` gives them, as the loader does."""
    n = len(rows)
    if isinstance(source, CsrSource):
        start, length = source.extents(rows)
    else:
        start, length = rows, np.ones(n, dtype=np.int64)
    item = 1 if isinstance(source, CsrSource) else int(np.prod(source.shape[1:]))
    ends = np.cumsum(length[order] * item)
    dest = np.empty(n, dtype=np.int64)
    dest[order] = ends - length[order] * item
    size = int(ends[-1]) if n else 0

    def fill(array: Any, target: Any) -> np.ndarray:
        out = np.full(size + 2, 77).astype(target)
        pieces = Pieces(start, length, dest)
        if isinstance(source, CsrSource):
            pieces = source.pieces(rows, start, length, dest)
        jobs = [THREADS.submit(job) for job in array.jobs(pieces, out, n_jobs=2)]
        assert all(job.result() >= 0 for job in jobs)
        assert (out[size:] == np.array(77).astype(target)).all()  # nothing is written beyond the pieces
        return out[:size]

    dtype = source.dtype if dtype is None else dtype
    if not isinstance(source, CsrSource):
        return fill(source.array, dtype).reshape(n, *source.shape[1:])
    indptr = np.concatenate([[0], ends])
    return fill(source.data, dtype), fill(source.indices, np.int32), indptr


def check_rows(source: Any, expected: Any, dtype: Any = None) -> None:
    """Compare every choice of ``ROWS``, shuffled, with the rows of ``expected``, bit for bit."""
    rng = np.random.default_rng(0)
    for rows in map(np.array, map(list, ROWS.values())):
        rows = rows.astype(np.int64)
        order = rng.permutation(len(rows))
        found, reference = read_rows(source, rows, order, dtype), expected[rows[order]]
        if sp.issparse(expected):
            data, indices, indptr = found
            np.testing.assert_array_equal(indptr, reference.indptr)
            np.testing.assert_array_equal(indices, reference.indices)
            found, reference = data, reference.data
        if dtype is not None:
            reference = reference.astype(dtype)
        assert found.dtype == reference.dtype
        assert found.tobytes() == reference.tobytes()


def as_written(opened: Any) -> Any:
    """Return the whole matrix as the library of its format reads it."""
    if isinstance(opened, np.ndarray) or sp.issparse(opened):
        return opened
    return opened.to_memory() if hasattr(opened, "to_memory") else read_elem(opened)


@pytest.mark.parametrize("dtype", ["f4", "u2"])
@pytest.mark.parametrize("store", STORES.values(), ids=STORES)
def test_csr_rows_come_back_exactly(store, dtype, tmp_path):
    matrix = random_csr(dtype)
    opened = store(matrix, tmp_path)
    source = open_rows(opened)
    assert source.shape == matrix.shape
    assert source.dtype == matrix.dtype
    check_rows(source, as_written(opened))
    np.testing.assert_array_equal(as_written(opened).toarray(), matrix.toarray())


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "i4", "u4", "i8", "u8", "f8", "c8", "c16"])
@pytest.mark.parametrize(
    "store", [STORES[name] for name in ("memory", "zarr", "zarr, sharded blosc lz4", "h5ad, gzip")]
)
def test_csr_values_of_every_dtype_come_back_exactly(store, dtype, tmp_path):
    matrix = random_csr(dtype)
    check_rows(open_rows(store(matrix, tmp_path)), matrix)


DENSE = [("f4", (12,)), ("u1", (3, 4, 5)), ("i8", (1,)), ("f2", (7,)), ("c8", (2, 3))]
# Two of them in every store, each in ten stores or more.
CASES = {
    f"{name}, {dtype}": (STORES[name], dtype, item)
    for number, name in enumerate(STORES)
    for dtype, item in (DENSE[number % 5], DENSE[(number + 2) % 5])
}


@pytest.mark.parametrize(("store", "dtype", "item"), CASES.values(), ids=CASES)
def test_dense_rows_come_back_exactly(store, dtype, item, tmp_path):
    matrix = random_values(np.random.default_rng(2), dtype, (N_ROWS, *item))
    opened = store(matrix, tmp_path)
    source = open_rows(opened)
    assert source.shape == matrix.shape
    assert source.dtype == matrix.dtype
    check_rows(source, matrix)


@pytest.mark.parametrize(("dtype", "item"), [("f8", ()), ("?", (5,)), ("i2", (0,)), ("u8", (2, 1, 2))])
@pytest.mark.parametrize("store", [STORES[name] for name in ("memory", "zarr", "zarr, sharded blosc lz4")])
def test_dense_rows_of_odd_shapes_come_back_exactly(store, dtype, item, tmp_path):
    matrix = random_values(np.random.default_rng(2), dtype, (N_ROWS, *item))
    check_rows(open_rows(store(matrix, tmp_path)), matrix)


@pytest.mark.parametrize("target", ["f4", "f8", "i8", "f2"])
@pytest.mark.parametrize("store", [STORES[name] for name in ("memory", "zarr", "zarr, sharded blosc lz4", "h5ad")])
def test_values_are_cast_on_the_way(store, target, tmp_path):
    csr = random_csr("u2")
    csr.data[...] = csr.data % 1000
    check_rows(open_rows(store(csr, tmp_path)), csr, target)


@pytest.mark.parametrize("store", [STORES[name] for name in ("zarr", "zarr, sharded blosc lz4", "zarr, no codec")])
def test_a_narrowed_element_remembers_its_first_dtype(store, tmp_path):
    for matrix in (random_csr("u1"), random_csr("u1").toarray()):
        opened = store(matrix, tmp_path)
        opened.attrs["annbatch-dtype"] = "float32"
        source = open_rows(opened)
        assert source.dtype == np.float32
        check_rows(source, matrix.astype(np.float32))


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1][::-1].copy()[:, ::-1],
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_numpy_arrays_of_any_layout_are_read(layout):
    array = layout(random_values(np.random.default_rng(3), "f4", (N_ROWS, 6)))
    check_rows(open_rows(array), array.astype("f4"))


def test_an_array_in_memory_is_not_copied():
    array = np.zeros((N_ROWS, 3), dtype="f4")
    source = open_rows(array)
    array[:] = 5
    check_rows(source, array)


@pytest.mark.parametrize("chunks", [(7, 3), (83, 1), (5, 12)])
def test_dense_arrays_chunked_along_columns_are_read(chunks, tmp_path):
    matrix = random_values(np.random.default_rng(4), "f4", (N_ROWS, 12))
    group = zarr.open_group(tmp_path / "store.zarr", mode="w")
    array = group.create_array("X", shape=matrix.shape, dtype="f4", chunks=chunks, compressors=BLOSC)
    array[...] = matrix
    check_rows(open_rows(array), matrix)
    with h5py.File(tmp_path / "store.h5", "w") as file:
        check_rows(open_rows(file.create_dataset("X", data=matrix, chunks=chunks)), matrix)


@pytest.mark.parametrize("fill", [0, 3.5])
@pytest.mark.parametrize("shards", [None, (20, 6)])
def test_chunks_that_were_never_written_hold_the_fill_value(fill, shards, tmp_path):
    group = zarr.open_group(tmp_path / "store.zarr", mode="w")
    array = group.create_array(
        "X", shape=(N_ROWS, 6), dtype="f4", chunks=(5, 6), shards=shards, fill_value=fill, compressors=BLOSC
    )
    array[21:33] = 1.25
    check_rows(open_rows(array), array[...])


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=30),
    st.integers(1, 40),
    st.sampled_from([None, 1, 2, 5]),
    st.sampled_from([None, BLOSC, ZstdCodec()]),
    st.data(),
)
def test_rows_cross_chunk_and_shard_borders_anywhere(tmp_path_factory, lengths, chunk, shard, codec, data):
    n = sum(lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    matrix = sp.csr_matrix((np.arange(1, n + 1, dtype="u2"), np.arange(n, dtype="i4") % 9, indptr), (len(lengths), 9))
    write = zarr_store(chunk=chunk, shard=shard, compressors=codec)
    source = open_rows(write(matrix, tmp_path_factory.mktemp("borders")))
    rows = np.array(sorted(data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=12))), dtype=np.int64)
    order = np.array(data.draw(st.permutations(range(len(rows)))), dtype=np.int64)
    values, indices, ptr = read_rows(source, rows, order, np.float32)
    expected = matrix[rows[order]]
    np.testing.assert_array_equal(ptr, expected.indptr)
    np.testing.assert_array_equal(indices, expected.indices)
    np.testing.assert_array_equal(values, expected.data.astype(np.float32))


@given(st.lists(st.one_of(st.integers(0, 10), st.integers(0, 10**6)), max_size=40), st.integers(1, 9))
def test_work_is_split_into_even_stretches(elements, n_jobs):
    parts = split_evenly(np.array(elements, dtype=np.int64), n_jobs)
    assert len(parts) <= n_jobs
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(elements)))
    if len(parts) > 1:
        most = max(sum(elements[part]) for part in parts)
        assert most <= sum(elements) / len(parts) + max(elements)


def test_little_work_is_not_split():
    assert split_evenly(np.ones(1000, dtype=np.int64), 8) == [slice(0, 1000)]


def test_each_source_describes_how_it_is_read(tmp_path):
    csr, dense = random_csr("f4"), np.zeros((N_ROWS, 2))
    stores = ("memory", "zarr in memory", "zarr, gzip", "zarr, two codecs", "h5ad", "h5ad, gzip")
    descriptions = {name: [] for name in stores}
    for name, matrix in itertools.product(stores, (csr, dense)):
        folder = tmp_path / f"{name} {type(matrix).__name__}"
        folder.mkdir()
        descriptions[name].append(open_rows(STORES[name](matrix, folder)).describe())
    assert descriptions == {
        "memory": ["csr, memory", "dense, memory"],
        "zarr in memory": ["csr, zarr", "dense, zarr"],
        "zarr, gzip": ["csr, zarr (native, gzip)", "dense, zarr (native, gzip)"],
        "zarr, two codecs": ["csr, zarr", "dense, zarr"],
        "h5ad": ["csr, HDF5 (native, uncompressed)", "dense, HDF5 (native, uncompressed)"],
        "h5ad, gzip": ["csr, HDF5 (gzip)", "dense, HDF5 (gzip)"],
    }


def test_reading_leaves_the_configuration_unchanged(tmp_path):
    before = zarr.config.to_dict() if hasattr(zarr.config, "to_dict") else dict(zarr.config.config)
    array = STORES["zarr, two codecs"](np.ones((N_ROWS, 2)), tmp_path)
    pipeline = type(array.async_array.codec_pipeline)
    check_rows(open_rows(array), np.ones((N_ROWS, 2)))
    assert type(array.async_array.codec_pipeline) is pipeline
    assert type(zarr.open_array(array.store_path.store, path="X", mode="r").async_array.codec_pipeline) is pipeline
    assert (zarr.config.to_dict() if hasattr(zarr.config, "to_dict") else dict(zarr.config.config)) == before


# Bad input -----------------------------------------------------------------------------------------------------------


def csc_group(folder: Path) -> zarr.Group:
    return write_with_anndata(ad.AnnData(sp.csc_matrix(np.eye(3))), folder / "csc.zarr")["X"]


BAD = {
    "CSC in memory": (lambda folder: sp.csc_matrix((2, 2)), "got a SciPy csc_matrix: `.tocsr\\(\\)` makes it CSR"),
    "COO": (lambda folder: sp.coo_array((2, 2)), "got a SciPy coo_array: `.tocsr\\(\\)` makes it CSR"),
    "CSC on disk": (csc_group, "encoded as csc_matrix: convert it with `DatasetCollection.add_adatas`"),
    "CSC of anndata": (lambda folder: sparse_dataset(csc_group(folder)), "encoded as csc_matrix"),
    "any group": (lambda folder: zarr.open_group(folder / "g.zarr", mode="w"), "got a group encoded as nothing: see"),
    "a list": (lambda folder: [[1, 2]], "got builtins.list"),
    "None": (lambda folder: None, "got None: name what the data holds in `keys`"),
    "a path": (lambda folder: str(folder), "got builtins.str: load it, or open it with zarr"),
    "strings": (lambda folder: np.array([["a"]]), "`X` must hold booleans or numbers .*, got dtype <U1"),
    "objects": (lambda folder: np.array([[None]]), "`X` must hold booleans or numbers .*, got dtype object"),
    "dates": (lambda folder: np.zeros((2, 2), "M8[s]"), "`X` must hold booleans or numbers .*, got dtype datetime64"),
    "a number": (lambda folder: np.array(3.0), "`X` must have rows, got an array without dimensions"),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_anything_else_is_refused(make, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        open_rows(make(tmp_path))


@pytest.mark.parametrize("store", [STORES[name] for name in ("memory", "zarr", "zarr, no codec", "h5ad")])
@pytest.mark.parametrize("damage", ["beyond the end", "descending", "negative", "first", "last"])
def test_a_damaged_indptr_is_an_error(store, damage, tmp_path):
    matrix = random_csr("f4")
    indptr = matrix.indptr.copy()
    row = {"first": 0, "last": -1}.get(damage, 50)
    by = {"beyond the end": 10**6, "descending": -indptr[50], "negative": -(10**6), "first": 1, "last": 1}
    indptr[row] += by[damage]
    matrix.indptr = indptr
    if store is STORES["h5ad"]:
        group = h5py.File(tmp_path / "store.h5ad", "w").create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": matrix.shape})
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        source = open_rows(group)
    else:
        source = open_rows(store(matrix, tmp_path))
    with pytest.raises(CorruptDataError, match="an `indptr` that ascends from 0 to"):
        source.extents(np.arange(45, 55))


def test_rows_that_overlap_are_damage_though_each_looks_right():
    matrix = random_csr("f4")
    matrix.indptr[60:62] = matrix.indptr[20:22]
    source = open_rows(matrix)
    assert len(source.extents(np.array([10, 20, 20, 58]))[0]) == 4
    with pytest.raises(CorruptDataError, match=r"an `indptr` that ascends .* got others in rows 10 to 61"):
        source.extents(np.array([10, 30, 61]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": np.arange(3)}, "a column number per value"),
        ({"indices": np.linspace(0, 4, 500)}, "must have integers in `indices`, got float64"),
        ({"indptr": np.zeros(101)}, "must have integers in `indptr`, got float64"),
        ({"indptr": np.zeros(0, "i4")}, "must have an `indptr` with one number more than it has rows, got 0 for shape"),
        ({"shape": [100, -1]}, r"got 101 for shape \(100, -1\)"),
        ({"shape": [101, 5]}, "got 101 for shape"),
        ({"shape": "wide"}, "MemoryStore cannot be read, .*invalid literal"),
        ({"data": None}, "MemoryStore cannot be read, .*'dtype'"),
        ({"annbatch-dtype": "object"}, "MemoryStore cannot be read, .*must name a dtype of numbers, got object"),
    ],
    ids=[
        "too few column numbers",
        "column numbers of floats",
        "indptr of floats",
        "no indptr",
        "negative width",
        "more rows than pointers",
        "a shape of words",
        "data that is a group",
        "a dtype of words",
    ],
)
def test_an_invalid_csr_group_is_refused_before_it_is_read(change, message):
    group = zarr.create_group({})
    arrays = {"data": np.ones(500), "indices": np.zeros(500, "i4"), "indptr": np.zeros(101, "i4"), **change}
    group.attrs.update({"encoding-type": "csr_matrix", "shape": arrays.pop("shape", [100, 5])})
    group.attrs.update({"annbatch-dtype": arrays.pop("annbatch-dtype", "float64")})
    for name, values in arrays.items():
        if values is None:
            group.create_group(name)
        else:
            group.create_array(name, data=values)
    with pytest.raises(CorruptDataError, match=message):
        open_rows(group)


def test_column_numbers_in_a_matrix_without_columns(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.attrs.update({"encoding-type": "csr_matrix", "shape": [2, 0]})
    for name, values in {"data": np.ones(2), "indices": np.zeros(2, "i4"), "indptr": np.array([0, 1, 2])}.items():
        group.create_array(name, data=values, compressors=None)
    with pytest.raises(CorruptDataError, match="column numbers beyond the matrix"):
        list(Loader(batch_size=2, chunk_size=1, preload_nchunks=2, densify=True).add_dataset(group))


def test_a_handle_of_another_byte_order_reads_the_same(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(20, 3), dtype=">f4", chunks=(5, 3))
    array[:] = np.arange(60).reshape(20, 3)
    batch = next(iter(Loader(batch_size=20, chunk_size=20, preload_nchunks=1).add_dataset(array)))
    np.testing.assert_array_equal(batch["X"], np.arange(60, dtype="f4").reshape(20, 3))


@pytest.mark.parametrize("known", ["no numbers before rows", "of fewer rows", "of another dtype"])
def test_differences_without_the_numbers_before_rows_are_left_to_the_library(tmp_path: Path, known: str) -> None:
    matrix = random_csr("f4")
    group = written_by_annbatch("compact")(matrix, tmp_path)
    before = group["indices_before"][:]
    del group["indices_before"]
    if known == "of fewer rows":  # as another program leaves it that adds rows
        group["indices_before"] = before[:-1]
    elif known == "of another dtype":
        group["indices_before"] = before.astype("i8")
    source = open_rows(group)
    assert isinstance(source.indices, ZarrLibraryArray)
    check_rows(source, matrix)


def test_a_number_before_a_row_that_leads_beyond_the_matrix_is_an_error(tmp_path: Path) -> None:
    group = written_by_annbatch("compact")(random_csr("f4"), tmp_path)
    assert group["indices"].dtype == "u2"
    before = group["indices_before"]
    before[...] = before[:] + np.uint16(300)
    with pytest.raises(CorruptDataError, match="holds column numbers beyond the matrix"):
        check_rows(open_rows(group), random_csr("f4"))


def test_rows_whose_numbers_descend_are_read_from_differences(tmp_path: Path) -> None:
    matrix = random_csr("f4")
    for row in range(N_ROWS):
        part = slice(*matrix.indptr[row : row + 2])
        matrix.indices[part], matrix.data[part] = matrix.indices[part][::-1].copy(), matrix.data[part][::-1].copy()
    source = open_rows(written_by_annbatch("compact")(matrix, tmp_path))
    assert source.indices.layout.codecs.differences
    check_rows(source, matrix)
