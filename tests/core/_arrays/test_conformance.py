"""One suite, every storage kind: a loader yields the rows that anndata reads, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numcodecs
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from anndata.io import read_elem, write_elem
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec
from zarr.codecs.numcodecs import LZ4

from annbatch import Loader, write_sharded
from annbatch.errors import CorruptDataError

N, GENES = 97, 40
ELEMENTS = {"CSR": "X", "CSR layer": "layers/counts", "dense": "layers/scaled", "n-d dense": "obsm/image"}


def cells() -> ad.AnnData:
    """Return cells with empty ones among them, the largest and smallest values, and a column of every kind in obs."""
    rng = np.random.default_rng(0)
    x = sp.random(N, GENES, 0.3, format="csr", dtype="f4", random_state=0)
    x.data[:4] = np.finfo("f4").max, np.finfo("f4").tiny, -0.0, 1e-45
    counts = rng.poisson(0.7, (N, GENES)).astype("u2")
    counts[rng.random(N) < 0.1] = 0
    counts[5, 6] = 65_535
    scaled = rng.normal(size=(N, GENES))
    scaled[3, 4] = np.nan
    obs = pd.DataFrame(
        {
            "type": pd.Categorical(rng.choice(list("abc"), N), categories=list("abc")),
            "n": rng.integers(-9, 9, N),
            "x": rng.normal(size=N).astype("f4"),
            "flag": rng.random(N) < 0.5,
            "name": [f"s{i % 7}" for i in range(N)],
            "maybe": pd.array(np.where(rng.random(N) < 0.3, None, 3), dtype="Int32"),
        },
        index=[f"cell{i}" for i in range(N)],
    )
    return ad.AnnData(
        x,
        obs=obs,
        var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)]),
        layers={"counts": sp.csr_matrix(counts), "scaled": scaled},
        obsm={"image": rng.integers(0, 255, (N, 3, 2, 2)).astype("u1")},
    )


CELLS = cells()
Source = Callable[[Path], Any]


def sharded(store: Any, **how: Any) -> zarr.Group:
    """Return the cells as this package writes them, with its own kernels."""
    group = zarr.open_group(store, mode="w", zarr_format=3)
    write_sharded(group, CELLS, n_obs_per_chunk=8, **how)
    return zarr.open_group(store, mode="r", zarr_format=3)


def by_anndata(store: Any, zarr_format: int = 3, **how: Any) -> zarr.Group:
    """Return the cells as anndata writes them to zarr."""
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "/", CELLS, dataset_kwargs=how)
    return zarr.open_group(store, mode="r", zarr_format=zarr_format)


def h5ad(folder: Path, **how: Any) -> h5py.File:
    CELLS.write_h5ad(folder / "a.h5ad", **how)
    return h5py.File(folder / "a.h5ad", "r")


def object_store(folder: Path) -> Any:
    """Return a store through obstore, as S3, GCS and Azure are read."""
    obstore = pytest.importorskip("obstore", reason="needs obstore: pip install obstore")
    return zarr.storage.ObjectStore(obstore.store.LocalStore(folder, mkdir=True))


SOURCES: dict[str, Source] = {
    "zarr native": lambda folder: sharded(folder / "a.zarr"),
    "zarr native, differences": lambda folder: sharded(folder / "a.zarr", layout="compact"),
    "zarr native, plain": lambda folder: sharded(folder / "a.zarr", compressors=None),
    "zarr native, Blosc zstd": lambda folder: sharded(folder / "a.zarr", compressors=BloscCodec(cname="zstd")),
    "zarr by zarr": lambda folder: by_anndata(folder / "a.zarr", compressors=[GzipCodec(), GzipCodec()]),
    "zarr v2": lambda folder: by_anndata(folder / "a.zarr", zarr_format=2),
    "zarr in memory": lambda folder: by_anndata(zarr.storage.MemoryStore()),
    "h5ad": h5ad,
    "h5ad, gzip": lambda folder: h5ad(folder, compression="gzip"),
    "h5ad, lzf": lambda folder: h5ad(folder, compression="lzf"),
    "memory": lambda folder: CELLS,
    "object store": lambda folder: sharded(object_store(folder / "o")),
    "object store, differences": lambda folder: sharded(object_store(folder / "o"), layout="compact"),
    "object store, zarr's codecs": lambda folder: by_anndata(object_store(folder / "o")),
}


@pytest.fixture(scope="module", params=SOURCES.values(), ids=SOURCES)
def source(request, tmp_path_factory) -> Any:
    return request.param(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="module")
def whole(source) -> ad.AnnData:
    """Return all rows as anndata gives them."""
    return source if isinstance(source, ad.AnnData) else read_elem(source)


def loader(source: Any, keys: Any, **more: Any) -> Loader:
    sampling = {"batch_size": 10, "chunk_size": 3, "preload_nchunks": 10, "shuffle": True, "seed": 0}
    return Loader(keys=keys, **{**sampling, "return_index": True, **more}).add_adata(source)


@pytest.mark.parametrize("chunk_size", [1, 16], ids=["single rows", "chunks"])
@pytest.mark.parametrize("key", ELEMENTS.values(), ids=ELEMENTS)
def test_rows_are_those_that_anndata_gives(source, whole, key, chunk_size):
    place, _, name = key.partition("/")
    expected = getattr(whole, place)[name] if name else whole.X
    stored = {"X": "f4", "layers/counts": "u2"}.get(key, expected.dtype)  # narrowed counts come back as they were
    rows = []
    with loader(source, key, chunk_size=chunk_size, preload_nchunks=80 // chunk_size) as loading:
        for batch in loading:
            index = batch["index"]
            rows += index.tolist()
            found = batch[place][name] if name else batch["X"]
            assert found.dtype == stored
            same(found, expected[index].astype(stored))
    assert sorted(rows) == list(range(N))


def same(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert sp.issparse(found) == sp.issparse(expected)
    parts = ("indptr", "indices", "data") if sp.issparse(expected) else (None,)
    for part in parts:
        one, other = (found, expected) if part is None else (getattr(found, part), getattr(expected, part))
        np.testing.assert_array_equal(one, other)
        if part in (None, "data"):
            assert one.tobytes() == np.ascontiguousarray(other).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("densify", [False, True], ids=["sparse", "densified"])
def test_chosen_genes(source, whole, densify):
    names = ["g31", "g2", "g17"]
    expected = whole[:, names]
    for batch in loader(source, ("X", "layers/scaled"), var_names=names, densify=densify):
        x = expected.X[batch["index"]].toarray()
        np.testing.assert_array_equal(batch["X"] if densify else batch["X"].toarray(), x)
        np.testing.assert_array_equal(batch["layers"]["scaled"], expected.layers["scaled"][batch["index"]])


def test_annotations(source, whole):
    for batch in loader(source, ("X", "obs")):
        pd.testing.assert_frame_equal(batch["obs"], whole.obs.iloc[batch["index"]], check_names=False)


# zarr's codecs, in every format --------------------------------------------------------------------------------------

CODECS = {
    "zstd": (ZstdCodec, numcodecs.Zstd),
    "gzip": (GzipCodec, numcodecs.GZip),
    "lz4": (LZ4, numcodecs.LZ4),
    "blosc": (BloscCodec, numcodecs.Blosc),
    "none": (lambda: None, lambda: None),
}
METADATA = {"zarr.json", ".zarray", ".zattrs"}
PLACES = {"local": lambda folder: folder / "a.zarr", "object store": object_store}


# Every codec in every form, and each of both in both places.
CASES = {
    f"{codec}, {form}, {place}": (codec, form, PLACES[place])
    for number, (codec, form) in enumerate(itertools.product(CODECS, ["v2", "v3", "v3 sharded"]))
    for place in [list(PLACES)[number % len(PLACES)]]
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3:UserWarning")
@pytest.mark.parametrize(("codec", "form", "place"), CASES.values(), ids=CASES)
def test_kernels_read_what_anndata_reads_and_refuse_what_is_damaged(tmp_path, codec, form, place):
    store, zarr_format = place(tmp_path), int(form[1])
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    compressor = CODECS[codec][zarr_format == 2]()
    with ad.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "/", ad.AnnData(obs=CELLS.obs[[]], var=CELLS.var))
        for key in ELEMENTS.values():
            kind, _, name = key.partition("/")
            matrix = getattr(CELLS, kind)[name] if name else CELLS.X
            chunk, item = (100, ()) if sp.issparse(matrix) else (8, matrix.shape[1:])
            shards = {"shards": (3 * chunk, *item)} if form == "v3 sharded" else {}
            how = {"chunks": (chunk, *item), "compressors": compressor, **shards}
            write_elem(group.require_group(kind) if name else group, name or key, matrix, dataset_kwargs=how)
    source = zarr.open_group(store, mode="r")
    whole = read_elem(source)
    keys = tuple(ELEMENTS.values())
    for chunk_size in (1, 16):
        with loader(source, keys, chunk_size=chunk_size, preload_nchunks=80 // chunk_size) as loading:
            assert repr(loading).count("(native") == len(keys)
            for batch in loading:
                index = batch["index"]
                same(batch["X"], whole.X[index])
                same(batch["layers"]["counts"], whole.layers["counts"][index])
                same(batch["layers"]["scaled"], whole.layers["scaled"][index])
                same(batch["obsm"]["image"], whole.obsm["image"][index])
    for key, array in (("X", "X/data"), ("layers/scaled", "layers/scaled")):
        (folder,) = (path for path in tmp_path.rglob(array) if path.is_dir())
        chunks = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in METADATA)
        kept = chunks[1].read_bytes()
        chunks[1].write_bytes(kept[: len(kept) // 2])
        with (
            loader(zarr.open_group(store, mode="r"), key) as loading,
            pytest.raises(CorruptDataError, match=array),
        ):
            for _ in loading:
                pass
        chunks[1].write_bytes(kept)
