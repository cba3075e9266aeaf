"""Whether files are read around the page cache is decided well, and what is read so is what a loader would read."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import zarr
from hypothesis import given
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, ZstdCodec

from annbatch import Loader, statistics, write_sharded
from annbatch._arrays import direct_io, staged_chunks
from annbatch._arrays.chunk_locations import ChunkLocations
from annbatch._arrays.direct_io import DirectIO, _requests
from annbatch._kernels.direct_io import UNIT, Queue
from annbatch.errors import CorruptDataError

N, GENES = 4_000, 500


@pytest.fixture(scope="module", autouse=True)
def _supported(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("direct") / "file"
    path.write_bytes(bytes(UNIT))
    try:
        Queue(4).close()
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except (AttributeError, OSError) as error:
        pytest.skip(f"no direct I/O in the temporary folder: {error}")


def cells() -> ad.AnnData:
    rng = np.random.default_rng(0)
    x = sp.random(N, GENES, 0.3, format="csr", dtype="f4", random_state=0)
    x.data[:] = rng.integers(1, 2_000, x.nnz)
    image = rng.integers(0, 255, (N, 8, 9)).astype("u1")
    return ad.AnnData(x, obs=pd.DataFrame(index=np.arange(N).astype(str)), obsm={"image": image})


CELLS = cells()


def write(folder: Path, **how: Any) -> zarr.Group:
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=3)
    write_sharded(group, CELLS, **{"n_obs_per_chunk": 64, "shard_size": "400KB"} | how)
    return zarr.open_group(folder / "a.zarr", mode="r")


def h5ad(folder: Path) -> h5py.File:
    CELLS.write_h5ad(folder / "a.h5ad")
    return h5py.File(folder / "a.h5ad", "r")


STORES: dict[str, Callable[[Path], Any]] = {
    "compact": lambda folder: write(folder, layout="compact"),
    "portable": lambda folder: write(folder, layout="portable"),
    "random_access": lambda folder: write(folder, layout="random_access"),
    "blosc zstd": lambda folder: write(folder, compressors=BloscCodec(cname="zstd")),
    "zstd": lambda folder: write(folder, compressors=ZstdCodec()),
    "many files": lambda folder: write(folder, n_obs_per_chunk=16, shard_size="20KB"),
    "h5ad": h5ad,
}


def evict(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def cold_epochs(loader: Loader, folder: Path, n: int = 1) -> Iterator[Any]:
    """Yield the batches of at least ``n`` epochs, until files were read around the page cache.

    Where other processes keep all cores busy, a disk may answer before the kernel says that it would have to wait for
    it: then all seems to be cached.
    """
    for number in range(20):
        evict(folder)
        yield from loader
        if number + 1 >= n and loader.stats.disk_requests:
            return
    pytest.fail(f"nothing was read around the page cache: {loader._reading.direct_io.refused}")


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("store")
    return folder, STORES[request.param](folder)


def epoch(loader: Loader) -> list[dict[str, np.ndarray]]:
    dense = {"X": lambda x: x.toarray(), "image": lambda x: x, "index": lambda x: x}
    return [{"X": dense["X"](batch["X"]), "image": batch["obsm"]["image"], "index": batch["index"]} for batch in loader]


@pytest.mark.filterwarnings("ignore:Reading decodes")
@pytest.mark.parametrize("chunk_size", [1, 50, 500])
def test_batches_are_the_same_around_the_page_cache(store: tuple[Path, Any], chunk_size: int) -> None:
    folder, source = store
    how: dict[str, Any] = {"batch_size": 50, "chunk_size": chunk_size, "preload_nchunks": 1_000 // chunk_size}
    how |= {"shuffle": True, "seed": 0, "return_index": True, "keys": ("X", "obsm/image")}
    with Loader(direct_io=True, **how) as loader:
        loader.add_adata(source)
        for batch in cold_epochs(loader, folder, 2):  # heads of chunks are known the second time
            np.testing.assert_array_equal(batch["X"].toarray(), CELLS.X[batch["index"]].toarray())
            np.testing.assert_array_equal(batch["obsm"]["image"], CELLS.obsm["image"][batch["index"]])
        stats = loader.stats
        assert stats.disk_bytes >= stats.disk_bytes_wanted > 0
        assert stats.disk_in_flight > 0
        assert "direct_io=True" in repr(loader)
        assert "around the page cache" in loader._repr_html_()
        assert "in flight" in str(stats)


@pytest.mark.slow
def test_some_columns_and_dense_rows_are_the_same(store: tuple[Path, Any]) -> None:
    folder, source = store
    names = CELLS.var_names[::7].tolist()
    with Loader(batch_size=50, chunk_size=8, preload_nchunks=25, var_names=names, densify=True, direct_io=True) as one:
        one.add_adata(source)
        rows = np.concatenate([batch["X"] for batch in cold_epochs(one, folder)])[-N:]
    np.testing.assert_array_equal(rows, CELLS.X[:, ::7].toarray())


def test_statistics_read_so_too(tmp_path: Path) -> None:
    group = write(tmp_path)
    loader = Loader(batch_size=50, direct_io=True).add_adata(group)
    for _ in cold_epochs(loader, tmp_path):
        pass
    before = loader.stats.disk_requests
    while loader.stats.disk_requests == before:
        evict(tmp_path)
        found = statistics(loader)
    np.testing.assert_array_equal(found.genes["total"], np.asarray(CELLS.X.sum(axis=0)).ravel())


@pytest.mark.parametrize("layout", ["compact", "random_access"])
def test_a_truncated_file_is_an_error(tmp_path: Path, layout: str) -> None:
    group = write(tmp_path, layout=layout, shard_size="1GB")
    loader = Loader(batch_size=50, chunk_size=50, preload_nchunks=4, direct_io=True).add_adata(group)
    evict(tmp_path)
    batches = iter(loader)
    next(batches)
    file = max((tmp_path / "a.zarr" / "X" / "data" / "c").iterdir(), key=lambda path: path.stat().st_size)
    os.truncate(file, file.stat().st_size // 3)
    with pytest.raises(CorruptDataError, match=str(file)):
        list(batches)


def test_damaged_chunks_are_an_error(tmp_path: Path) -> None:
    group = write(tmp_path, layout="compact", shard_size="1GB")
    (file,) = (tmp_path / "a.zarr" / "X" / "indices" / "c").iterdir()
    with file.open("r+b") as opened:
        opened.seek(4)
        opened.write(b"\xff" * 60)  # the head of the first chunk
    loader = Loader(batch_size=50, chunk_size=5, preload_nchunks=10, direct_io=True).add_adata(group)
    evict(tmp_path)
    with pytest.raises(CorruptDataError, match=r"chunk 0 "):
        list(loader)


@pytest.mark.parametrize(
    ("chosen", "memory", "used"),
    [
        (None, 1 << 60, False), (None, 1_000, True), (None, None, False),
        (True, 1 << 60, True), (True, None, True), (False, 1_000, False),
    ],
)  # fmt: skip
def test_the_page_cache_is_used_where_all_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: bool | None, memory: int | None, used: bool
) -> None:
    monkeypatch.setattr(direct_io, "available_memory", lambda: memory)
    with Loader(batch_size=50, direct_io=chosen).add_adata(write(tmp_path)) as loader:
        for _ in cold_epochs(loader, tmp_path) if used else loader:
            pass
        assert ("direct_io=True" in repr(loader)) == used
        assert (loader.stats.disk_requests > 0) == used


def test_what_is_cached_is_read_from_the_cache(tmp_path: Path) -> None:
    group = write(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.read_bytes()
    with Loader(batch_size=50, direct_io=True).add_adata(group) as loader:
        list(loader)
        assert loader.stats.disk_requests == 0


def test_asking_the_page_cache_does_not_make_it_seem_to_hold_all(tmp_path: Path) -> None:
    group = write(tmp_path, layout="random_access", n_obs_per_chunk=1_000)
    with Loader(batch_size=50, chunk_size=1_000, preload_nchunks=1, direct_io=True).add_adata(group) as loader:
        for _ in cold_epochs(loader, tmp_path):
            pass
        for _ in range(4):
            before = loader.stats.disk_bytes
            list(loader)
            assert loader.stats.disk_bytes > before


def test_memory_is_not_read_around_the_page_cache() -> None:
    with Loader(batch_size=50, direct_io=True).add_adata(CELLS) as loader:
        list(loader)
        assert "direct_io" not in repr(loader)


def test_files_that_cannot_be_read_so_are_read_through_the_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems without direct I/O, which open such a file with this error."""

    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    group = write(tmp_path)
    monkeypatch.setattr(direct_io, "_open_directly", refuse)
    with Loader(batch_size=50, chunk_size=5, preload_nchunks=10, direct_io=True).add_adata(group) as loader:
        evict(tmp_path)
        rows = np.concatenate([batch["X"].toarray() for batch in loader])
        np.testing.assert_array_equal(rows, CELLS.X.toarray())
        assert "the file system has no direct I/O" in loader._repr_html_()
        list(loader)
        assert "direct_io=True" not in repr(loader)


def test_queues_that_the_system_refuses_leave_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_io, "_DEPTH", 1 << 30)
    with Loader(batch_size=50, direct_io=True).add_adata(write(tmp_path)) as loader:
        evict(tmp_path)
        assert len(list(loader)) == N // 50
        assert "io_setup" in loader._repr_html_()


def test_threads_end_with_the_loader_and_start_again(tmp_path: Path) -> None:
    def threads() -> int:
        return sum(thread.name.startswith("annbatch-disk") for thread in threading.enumerate())

    group, before = write(tmp_path), threads()
    loader = Loader(batch_size=50, chunk_size=50, preload_nchunks=2, direct_io=True).add_adata(group)
    for _ in range(2):
        batches = cold_epochs(loader, tmp_path, 9)
        while threads() == before:
            next(batches)
        loader.close()
        assert threads() == before
        with pytest.raises(RuntimeError, match="closed"):
            list(batches)
    copy = pickle.loads(pickle.dumps(loader))
    assert len(list(cold_epochs(copy, tmp_path))) % (N // 50) == 0


def test_rows_can_be_taken_once_the_loader_was_closed(tmp_path: Path) -> None:
    group = write(tmp_path)
    with Loader(batch_size=50, chunk_size=1, preload_nchunks=1_000, direct_io=True).add_adata(group) as loader:
        for _ in cold_epochs(loader, tmp_path):
            pass
    evict(tmp_path)
    np.testing.assert_array_equal(loader.take([7, 3])["X"].toarray(), CELLS.X[[7, 3]].toarray())
    loader.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Reading decodes")
def test_chunks_that_wait_to_be_decoded_take_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single rows of chunks that are decoded whole: each needs all the bytes of one."""
    monkeypatch.setattr(direct_io, "_MOST_STAGED", 1 << 20)
    monkeypatch.setattr(staged_chunks, "_BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(ChunkLocations, "are_cold", lambda self, reads: True)  # asking caches so small a file
    group = write(tmp_path, compressors=ZstdCodec(), n_obs_per_chunk=400, shard_size="1GB")
    held = []
    with Loader(batch_size=10, chunk_size=1, preload_nchunks=10, shuffle=True, direct_io=True) as loader:
        loader.add_dataset(group["X"])
        for number, batch in enumerate(cold_epochs(loader, tmp_path)):
            if number % 40 == 0:
                held.append(batch)
        stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert loader.stats.disk_bytes > 40 * stored
        # Ten chunks of each array make a batch of a megabyte or two: what may wait, four that are read, two in use.
        assert loader._reading.direct_io.peak_bytes < 12 << 20


def test_the_argument_is_a_flag() -> None:
    with pytest.raises(TypeError, match="`direct_io` must be True or False, got 'no'"):
        Loader(direct_io="no")


@given(st.lists(st.tuples(st.integers(3, 5), st.integers(0, 300_000), st.integers(0, 40_000)), max_size=30))
def test_requests_hold_their_ranges_in_whole_units(ranges: list[tuple[int, int, int]]) -> None:
    fd, begin, size = np.array(ranges, np.int64).reshape(-1, 3).T
    plan, of = _requests(fd, begin, begin + size)
    request_fd, first, last = plan.file, plan.start, plan.stop
    assert not (first % UNIT).any()
    assert not (last % UNIT).any()
    empty = size == 0
    assert (of[empty] == -1).all()
    some = of[~empty]
    np.testing.assert_array_equal(request_fd[some], fd[~empty])
    assert (first[some] <= begin[~empty]).all()
    assert (last[some] >= (begin + size)[~empty]).all()
    needed = np.unique([(f, unit) for f, b, n in ranges if n for unit in range(b // UNIT, -(-(b + n) // UNIT))], axis=0)
    assert sum((last - first) // UNIT) <= len(needed) + 2 * max(0, len(needed) - len(first))  # gaps of 8 KB
    for number in np.unique(request_fd):
        here = request_fd == number
        assert (first[here][1:] > last[here][:-1]).all()


def test_a_pickled_one_decides_by_itself() -> None:
    assert pickle.loads(pickle.dumps(DirectIO(True))).is_used is False
