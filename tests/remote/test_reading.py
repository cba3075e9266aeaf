"""A collection in a bucket gives the same rows as in a folder, with the planned requests."""

from __future__ import annotations

import pickle
from itertools import islice, pairwise

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore

from annbatch import DatasetCollection, Loader, RemoteStore


@pytest.mark.parametrize("layout", ["compact", "random_access"])
@pytest.mark.parametrize(
    "how",
    [{}, {"densify": True}, {"var_names": ["gene7", "gene2", "gene50"]}, {"chunk_size": 1, "preload_nchunks": 500}],
)
def test_batches_are_those_of_the_same_collection_in_a_folder(stored, environment, load, same_batches, layout, how):
    with load(stored(layout), **how) as local, load(f"s3://bucket/{layout}", **how) as remote:
        same_batches(remote, local)
        assert "object store" in repr(remote)


def test_a_group_of_zarrs_own_object_store_is_read_too(stored, environment, load, same_batches):
    from obstore.store import from_url

    stored("compact")
    group = zarr.open_group(ObjectStore(from_url("s3://bucket/compact"), read_only=True), mode="r")

    with load(stored("compact")) as local, load(DatasetCollection(group, mode="r")) as remote:
        same_batches(remote, local)
        assert remote.stats.requests > 0


@pytest.mark.parametrize("how", ["group", "object"])
def test_a_group_and_an_object_with_a_matrix_in_a_bucket_are_counted_too(stored, environment, how):
    import anndata as ad
    from obstore.store import from_url

    local = zarr.open_group(f"{stored('compact')}/dataset_0", mode="r")["obsm/X_pca"]
    group = zarr.open_group(ObjectStore(from_url("s3://bucket/compact"), read_only=True), mode="r")["dataset_0"]
    adata = group if how == "group" else ad.AnnData(np.zeros(local.shape), layers={"pca": group["obsm/X_pca"]})
    key = "obsm/X_pca" if how == "group" else "layers/pca"
    with Loader(batch_size=100, chunk_size=10, preload_nchunks=50, return_index=True, keys=(key,)) as loader:
        place, name = key.split("/")
        for batch in loader.add_adata(adata):
            np.testing.assert_array_equal(batch[place][name], local[:][batch["index"]])
        assert loader.stats.requests > 0
        assert loader.stats.bytes_received >= local.nbytes // 4


def test_codecs_that_the_kernels_do_not_know_are_read_through_zarr(environment):
    from zarr.codecs import ZstdCodec

    values = np.arange(5000, dtype=np.float32).reshape(500, 10)
    group = zarr.open_group(RemoteStore("s3://bucket/zstd"), mode="w")
    array = group.create_array(
        "X", shape=values.shape, dtype="f4", chunks=(10, 10), shards=(100, 10), compressors=[ZstdCodec(), ZstdCodec()]
    )
    array[:] = values

    with Loader(batch_size=50, chunk_size=5, preload_nchunks=20, shuffle=True, return_index=True) as loader:
        for batch in loader.add_dataset(array):
            assert np.array_equal(batch["X"], values[batch["index"]])
        assert "native" not in repr(loader)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("sharded", [True, False])
def test_dense_arrays_with_chunks_that_were_never_written(environment, compressed, sharded):
    group = zarr.open_group(RemoteStore("s3://bucket/dense"), mode="w")
    array = group.create_array(
        f"X-{compressed}-{sharded}",
        shape=(500, 4, 3),
        dtype="i4",
        chunks=(10, 4, 3),
        shards=(100, 4, 3) if sharded else None,
        compressors=zarr.codecs.BloscCodec() if compressed else None,
        fill_value=7,
    )
    values = np.full((500, 4, 3), 7, dtype=np.int32)
    values[150:230] = np.arange(80 * 12).reshape(80, 4, 3)
    array[150:230] = values[150:230]

    with Loader(batch_size=50, chunk_size=5, preload_nchunks=20, shuffle=True, return_index=True) as loader:
        for batch in loader.add_dataset(array):
            assert np.array_equal(batch["X"], values[batch["index"]])
        assert "native" in repr(loader)


def ranges_seen(proxy):
    """Return the requested ranges of data, per object."""
    found: dict[str, list[tuple[int, int]]] = {}
    for seen in proxy.seen:
        if seen.method == "GET" and "/c/" in seen.path and seen.range:
            start, _, stop = seen.range.removeprefix("bytes=").partition("-")
            if start:
                found.setdefault(seen.path, []).append((int(start), int(stop) + 1))
    return found


@pytest.mark.parametrize("layout", ["compact", "random_access"])
@pytest.mark.parametrize("how", [{}, {"densify": True}])
def test_no_byte_of_a_window_is_fetched_twice_and_requests_are_counted(stored, proxy, load, layout, how):
    stored(layout)
    with load(f"s3://bucket/{layout}", prefetch=0, preload_nchunks=200, **how) as loader:
        for _ in loader:  # one window; reads indexes and small arrays
            pass
        before = loader.stats
        proxy.seen.clear()
        for _ in loader:
            pass
        after = loader.stats

    assert after.requests - before.requests == len(proxy.seen)
    assert after.bytes_received - before.bytes_received == sum(seen.bytes for seen in proxy.seen)
    for spans in ranges_seen(proxy).values():
        spans.sort()
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


@pytest.fixture(scope="session")
def wide(bucket, make_cells, tmp_path_factory):
    """A collection of rows long enough for several threads to read one window."""
    folder = tmp_path_factory.mktemp("wide")
    cells = make_cells(600, 2000)
    cells.layers["levels"] = cells.X.toarray()
    cells.write_h5ad(folder / "wide.h5ad")
    local = DatasetCollection(folder / "wide").add_adatas([folder / "wide.h5ad"], n_obs_per_chunk=20, progress=False)
    for path in (folder / "wide").rglob("*"):
        if path.is_file():
            bucket.put(f"wide/{path.relative_to(folder / 'wide').as_posix()}", path)
    return local


@pytest.mark.parametrize("how", [{}, {"densify": True}, {"var_names": [f"gene{i}" for i in range(0, 2000, 7)]}])
def test_a_chunk_that_several_threads_need_is_fetched_once(wide, proxy, load, same_batches, how):
    given = {"preload_nchunks": 60, "obs_columns": [], "prefetch": 0} | how
    with load("s3://bucket/wide", **given) as remote, load(wide, **given) as local:
        same_batches(remote, local)
    (spans,) = [spans for path, spans in ranges_seen(proxy).items() if path.endswith("/X/indices/c/0")]
    spans.sort()
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


def test_a_chunk_of_dense_rows_is_fetched_once_for_some_columns(wide, proxy, load):
    given = {"preload_nchunks": 59, "batch_size": 59, "keys": ["layers/levels"], "prefetch": 0}
    given["var_names"] = [f"gene{i}" for i in range(0, 2000, 7)]
    with load("s3://bucket/wide", **given) as remote, load(wide, **given) as local:
        for one, other in islice(zip(remote, local, strict=True), 10):  # a window, which threads cut within chunks
            assert np.array_equal(one["layers"]["levels"], other["layers"]["levels"])
    (spans,) = [spans for path, spans in ranges_seen(proxy).items() if "/layers/levels/" in path]
    spans.sort()
    assert all(stop <= start for (_, stop), (start, _) in pairwise(spans))


def test_reading_stays_within_the_bounds(stored, environment, load):
    stored("compact")
    store = RemoteStore("s3://bucket/compact", requests=3, request_bytes=20_000)
    with load(store, prefetch=0) as loader:
        for _ in loader:
            pass
        (own,) = [own for _, own in loader._remote._stores]
        assert own.requests.peak_requests <= 3
        # Only requests that a thread waits for exceed the bound: at most those of one of the four windows.
        assert own.requests.peak_bytes < 20_000 + loader.stats.bytes_received / 2


def test_a_pickled_loader_reads_on(stored, environment, load, same_batches):
    with load("s3://bucket/compact") as loader, load(stored("compact")) as local:
        copy = pickle.loads(pickle.dumps(loader))
        with copy:
            same_batches(copy, local)
