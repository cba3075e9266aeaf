"""Chunks are read from the cache the second time, and are correct after damage to the disk and killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from annbatch import Loader, RemoteStore
from annbatch._format.shard_index import ShardIndex
from annbatch._remote.cache import EXTENT_BYTES, ChunkCache
from annbatch.errors import CorruptDataError

N_BYTES = 1000


def index(n_chunks=50, tag="a tag"):
    return ShardIndex(np.arange(n_chunks) * N_BYTES, np.full(n_chunks, N_BYTES), tag)


def content(chunk):
    return np.full(N_BYTES, chunk, dtype=np.uint8)


def put(cache, chunk, of=None):
    cache.put(cache.extent("shard", of or index(), chunk), chunk, content(chunk))


def found(cache, chunk, of=None):
    extent = cache.extent("shard", of or index(), chunk)
    (position,) = extent.find(np.array([chunk])).tolist()
    return None if position < 0 else np.frombuffer(os.pread(extent.fd, N_BYTES, position), dtype=np.uint8)


def data_requests(proxy):
    return [seen for seen in proxy.seen if "/X/data/c/" in seen.path and not seen.range.startswith("bytes=-")]


@pytest.mark.parametrize("layout", ["compact", "random_access"])
def test_a_second_pass_and_a_second_process_request_no_chunk_again(stored, proxy, load, same_batches, tmp_path, layout):
    local = load(stored(layout))
    with load(f"s3://bucket/{layout}", cache_dir=tmp_path) as loader:
        same_batches(loader, local)
        assert data_requests(proxy)
        proxy.seen.clear()
        same_batches(loader, local)
        assert not data_requests(proxy)
    with load(f"s3://bucket/{layout}", cache_dir=tmp_path, densify=True) as again:
        assert sum(len(batch["index"]) for batch in again) == 2000
        assert not data_requests(proxy)


def test_a_store_with_its_own_cache(stored, proxy, load, same_batches, tmp_path):
    store = RemoteStore("s3://bucket/compact", cache_dir=tmp_path / "new" / "folder", cache_size="1GB")
    with load(store) as loader, load(stored("compact")) as local:
        same_batches(loader, local)
        proxy.seen.clear()
        same_batches(loader, local)
    assert not data_requests(proxy)


def test_damage_on_the_disk_is_found_and_repaired(stored, proxy, load, same_batches, tmp_path):
    with load(stored("compact")) as local, load("s3://bucket/compact", cache_dir=tmp_path) as loader:
        same_batches(loader, local)
    files = sorted(tmp_path.glob("*.chunks"))
    for path in files:
        damaged = bytearray(path.read_bytes())
        damaged[5000::997] = bytes(len(damaged[5000::997]))
        path.write_bytes(damaged[: len(damaged) - 2000])
    proxy.seen.clear()

    with load(stored("compact")) as local, load("s3://bucket/compact", cache_dir=tmp_path) as loader:
        same_batches(loader, local)
        assert data_requests(proxy)
        proxy.seen.clear()
        same_batches(loader, local)
        assert not data_requests(proxy)


@pytest.mark.parametrize("layout", ["compact", "random_access"])
@pytest.mark.parametrize("cached", [False, True])
def test_a_bit_that_flips_on_the_way_is_an_error_and_not_kept(
    stored, proxy, load, same_batches, tmp_path, layout, cached
):
    def flip(seen):
        return "flip" if "/X/" in seen.path and seen.range and not seen.range.startswith("bytes=-") else ""

    local = load(stored(layout))
    with load(f"s3://bucket/{layout}", cache_dir=tmp_path if cached else None) as loader:
        proxy.choose = flip
        for _ in range(3):  # each flips other bits
            with pytest.raises(CorruptDataError, match=r"/X/(data|indices|indptr)/c/\d+ "):
                list(loader)
        proxy.choose = lambda seen: ""
        loader.set_epoch(0)
        same_batches(loader, local)


def test_a_chunk_that_was_replaced_in_the_store_is_not_read_from_the_cache(environment, tmp_path):
    form = {"shape": (500, 10), "dtype": "f4", "chunks": (10, 10), "shards": (500, 10), "compressors": None}
    for value in (1, 2):
        group = zarr.open_group(RemoteStore("s3://bucket/rewritten"), mode="a")
        array = group.require_array("X", **form)
        array[:] = value
        with Loader(batch_size=50, chunk_size=5, preload_nchunks=20, cache_dir=tmp_path).add_dataset(array) as loader:
            for _ in range(2):
                assert all((batch["X"] == value).all() for batch in loader)


def test_the_oldest_extents_go_first_and_the_size_is_kept(tmp_path):
    large = ShardIndex(np.arange(100) * (EXTENT_BYTES // 2), np.full(100, N_BYTES), "tag")
    cache = ChunkCache(tmp_path, 20 * 8192)
    # Every chunk in a separate extent of two blocks: a table and the chunk.
    for chunk in range(60):
        of = ShardIndex(large.offset, large.nbytes, f"tag {chunk}")
        put(cache, chunk, of)
        used = sum(path.stat().st_blocks * 512 for path in tmp_path.glob("*.chunks"))
        assert used <= 20 * 8192 * 1.25
    cache.evict()
    assert found(cache, 0, ShardIndex(large.offset, large.nbytes, "tag 0")) is None
    assert (found(cache, 59, ShardIndex(large.offset, large.nbytes, "tag 59")) == 59).all()


def test_an_extent_that_another_process_evicts_stays_readable_and_is_written_again(tmp_path):
    cache, other = ChunkCache(tmp_path, 1 << 20), ChunkCache(tmp_path, 1)
    put(cache, 3)
    extent = cache.extent("shard", index(), 3)
    other.evict()

    assert extent.find(np.array([3])) >= 0
    assert found(cache, 3) is None
    put(cache, 3)
    assert (found(ChunkCache(tmp_path, 1 << 20), 3) == 3).all()


def test_a_chunk_without_its_mark_or_with_a_wrong_one_is_missing(tmp_path):
    cache = ChunkCache(tmp_path, 1 << 20)
    put(cache, 3)
    (path,) = tmp_path.glob("*.chunks")
    written = path.read_bytes()
    for cut in (0, 3, 8, len(written) - 1):
        path.write_bytes(written[:cut])
        assert found(ChunkCache(tmp_path, 1 << 20), 3) is None
    path.write_bytes(written)
    assert (found(ChunkCache(tmp_path, 1 << 20), 3) == 3).all()


def test_a_chunk_that_is_damaged_after_it_was_read_is_missing(tmp_path):
    cache = ChunkCache(tmp_path, 1 << 20)
    put(cache, 3)
    assert (found(cache, 3) == 3).all()
    (path,) = tmp_path.glob("*.chunks")
    content = path.read_bytes()
    with open(path, "r+b") as file:  # the same file, which stays open
        file.seek(len(content) - 1)
        file.write(bytes([content[-1] ^ 1]))
    os.utime(path, ns=(0, 0))  # whatever the resolution of its clock
    assert found(cache, 3) is None
    put(cache, 3)
    assert (found(cache, 3) == 3).all()


def test_a_chunk_of_another_extent_is_missing(tmp_path):
    """All that ends with its own CRC-32C has the same one, and so do chunks of the crc32c codec."""

    def sealed(value):
        data = bytes([value]) * (N_BYTES - 4)
        return data + int(google_crc32c.value(data)).to_bytes(4, "little")

    cache, paths = ChunkCache(tmp_path, 1 << 20), []
    for name in ("one", "other"):
        cache.put(cache.extent(name, index(), 3), 3, sealed(len(name)))
        paths += [path for path in tmp_path.glob("*.chunks") if path not in paths]
    paths[1].write_bytes(paths[0].read_bytes())

    again = ChunkCache(tmp_path, 1 << 20)
    assert (again.find(again.extent("one", index(), 3), np.array([3])) >= 0).all()
    assert (again.find(again.extent("other", index(), 3), np.array([3])) == -1).all()


def test_a_disk_that_refuses_writes_is_no_error(tmp_path):
    cache = ChunkCache(tmp_path, 1 << 20)
    extent = cache.extent("shard", index(), 3)
    os.close(os.dup(extent.fd))
    reading = os.open(next(tmp_path.glob("*.chunks")), os.O_RDONLY)
    os.dup2(reading, extent.fd)  # writing fails from now on
    os.close(reading)

    with pytest.warns(RuntimeWarning, match=r"`cache_dir` .* is not used: "):
        cache.put(extent, 3, content(3))
    cache.put(extent, 3, content(3))  # warned already

    assert extent.find(np.array([3])) < 0


def link_to(target):
    def replace(path):
        path.unlink()
        path.symlink_to(target)

    return replace


def name_twice(path):
    path.with_suffix(".too").hardlink_to(path)


def make_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def give_away(path):
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("spoil", ["a link", name_twice, make_a_pipe, give_away])
def test_files_that_the_cache_did_not_make_are_left_alone(stored, proxy, load, same_batches, tmp_path, spoil):
    if spoil is give_away and os.geteuid():
        pytest.skip("only root can give files away")
    victim, folder = tmp_path / "victim", tmp_path / "cache"
    victim.write_bytes(b"mine")
    with load("s3://bucket/compact", cache_dir=folder) as loader:
        assert sum(len(batch["index"]) for batch in loader) == 2000
    for path in list(folder.glob("*.chunks")):
        (link_to(victim) if spoil == "a link" else spoil)(path)
    (folder / "lock").unlink(missing_ok=True)
    (folder / "lock").symlink_to(victim)

    with load("s3://bucket/compact", cache_dir=folder, cache_size=1) as loader, load(stored("compact")) as local:
        with pytest.warns(RuntimeWarning, match=r"`cache_dir` .* is not used: ") as warned:
            same_batches(loader, local)
        same_batches(loader, local)
    assert len(warned) == 1
    assert victim.read_bytes() == b"mine"


def test_a_folder_that_cannot_be_made_is_left_out(stored, proxy, load, same_batches, tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    loader, local = load("s3://bucket/compact", cache_dir=tmp_path / "file"), load(stored("compact"))
    unused = r"`cache_dir` .*/file is not used: File exists\."
    with loader, local, pytest.warns(RuntimeWarning, match=unused) as warned:
        same_batches(loader, local)
    assert len(warned) == 1


_WRITE = """
import sys
from pathlib import Path
import numpy as np
from annbatch._remote.cache import ChunkCache
from annbatch._format.shard_index import ShardIndex
cache = ChunkCache(sys.argv[1], 1 << 30)
index = ShardIndex(np.arange(50) * 200_000, np.full(50, 200_000), "tag")
while True:
    for chunk in range(50):
        extent = cache.extent("shard", index, chunk)
        extent.drop(chunk)
        cache.put(extent, chunk, np.full(200_000, chunk, dtype=np.uint8))
        print("another", flush=True)
"""


def test_processes_killed_while_they_write_leave_correct_chunks_or_none(tmp_path):
    of = ShardIndex(np.arange(50) * 200_000, np.full(50, 200_000), "tag")
    rng = np.random.default_rng(0)
    held = 0
    command = [sys.executable, "-c", _WRITE, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(4)]
    for some in (writers[:2], writers[2:]):
        for writer in some:
            assert writer.stdout is not None
            for _ in range(rng.integers(1, 120)):
                assert writer.stdout.readline() == b"another\n"
        for writer in some:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        cache = ChunkCache(tmp_path, 1 << 30)
        for chunk in range(50):
            extent = cache.extent("shard", of, chunk)
            (position,) = extent.find(np.array([chunk])).tolist()
            if position >= 0:
                held += 1
                assert os.pread(extent.fd, 200_000, position) == bytes([chunk]) * 200_000
    assert held > 0


_LOAD = """
import sys
from annbatch import DatasetCollection, Loader
loader = Loader(batch_size=100, chunk_size=10, preload_nchunks=50, shuffle=True, seed=7, cache_dir=sys.argv[1])
loader.use_collection(DatasetCollection("s3://bucket/compact", mode="r"))
for number, batch in enumerate(loader):
    if number == 5:
        print("begun", flush=True)
"""


def test_a_loader_killed_while_it_fills_the_cache_leaves_a_correct_one(stored, proxy, load, same_batches, tmp_path):
    stored("compact")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen([sys.executable, "-c", _LOAD, str(tmp_path)], stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert list(Path(tmp_path).glob("*.chunks"))

    with load(stored("compact")) as local, load("s3://bucket/compact", cache_dir=tmp_path) as loader:
        for _ in range(2):
            same_batches(loader, local)


def test_a_size_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match=r"`cache_size` must be positive, got 0\."):
        Loader(cache_dir=tmp_path, cache_size=0)
