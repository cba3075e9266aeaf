"""Measure reading over a slow link: ``python -m benchmarks.remote COLLECTION``.

Serves a collection from another process, with latency and a shared bandwidth; measures how much the link carries, how
much of that a loader uses, and how many requests and bytes it needs; and lets obstore and zarr fetch the same ranges.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from annbatch import DatasetCollection, Loader

from .schedulers import compare, ranges_of_windows, rows_of_table

LATENCY = 0.02
RATE = 100e6


@contextmanager
def served(folder: Path, latency: float, rate: float) -> Iterator[str]:
    """Serve a folder; yield its URL."""
    command = [sys.executable, "-m", "benchmarks.link", str(folder), f"--latency={latency}", f"--rate={rate}"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.communicate()


def carried(url: str, folder: Path) -> float:
    """Return bytes per second for large ranges, many at a time: the limit of the link."""
    import obstore

    store = obstore.store.from_url(url, client_options={"allow_http": True})
    shard = max(folder.glob("dataset_0/X/data/c/*"), key=lambda path: path.stat().st_size)
    size = min(shard.stat().st_size, 200 << 20)
    key, step = str(shard.relative_to(folder)), min(1 << 20, size)
    starts = list(range(0, size - step + 1, step))

    async def fetch() -> int:
        ranges = (obstore.get_range_async(store, key, start=start, length=step) for start in starts)
        return sum(map(len, await asyncio.gather(*ranges)))

    begin = time.perf_counter()
    n_bytes = asyncio.run(fetch())
    return n_bytes / (time.perf_counter() - begin)


def loader_of(url: str, chunk_size: int, window: int, **more: object) -> Loader:
    """Return a shuffling loader of X with four batches per window."""
    n_chunks = window // chunk_size
    sampling = {"batch_size": window // 4, "chunk_size": chunk_size, "preload_nchunks": n_chunks, "shuffle": True}
    return Loader(**sampling, seed=0, obs_columns=[], **more).use_collection(DatasetCollection(url, mode="r"))


def throughput(url: str, chunk_size: int, window: int, seconds: float) -> float:
    """Return bytes per second that reach a loader, after its first batch."""
    with loader_of(url, chunk_size, window) as loader:
        batches = iter(loader)
        next(batches)
        before, begin = loader.stats.bytes_received, time.perf_counter()
        while time.perf_counter() - begin < seconds and next(batches, None) is not None:
            pass
        return (loader.stats.bytes_received - before) / (time.perf_counter() - begin)


def cost(url: str, chunk_size: int, window: int, windows: int) -> tuple[float, float]:
    """Return requests and bytes per row over some windows, without reading ahead, once shard indexes are cached."""
    with loader_of(url, chunk_size, window, prefetch=0) as loader:
        batches = iter(loader)
        list(islice(batches, 4))
        before = loader.stats
        rows = sum(batch["X"].shape[0] for batch in islice(batches, windows * 4))
        after = loader.stats
    return (after.requests - before.requests) / rows, (after.bytes_received - before.bytes_received) / rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote", description=__doc__)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--chunk-sizes", type=int, nargs="+", default=[512, 64, 16])
    parser.add_argument("--window", type=int, default=16_384, metavar="ROWS")
    parser.add_argument("--rounds", type=int, default=7, help="windows that each scheduler fetches")
    arguments = parser.parse_args()
    window, folder = arguments.window, arguments.collection
    with served(folder, LATENCY, RATE) as url:
        limit = carried(url, folder)
        print(f"The link carries {limit / 1e6:.1f} MB/s, with {1e3 * LATENCY:.0f} ms to the first byte.\n")
        print("| chunk_size | MB/s | of the link |\n|---|---|---|")
        for chunk_size in arguments.chunk_sizes:
            reached = throughput(url, chunk_size, window, arguments.seconds)
            print(f"| {chunk_size} | {reached / 1e6:.1f} | {reached / limit:.0%} |", flush=True)
        print("\n| chunk_size | scheduler | s per window | ratio | s to first bytes | requests | MB | needless |")
        print("|---|---|---|---|---|---|---|---|")
        for chunk_size in arguments.chunk_sizes:
            windows = ranges_of_windows(folder, chunk_size, window, arguments.rounds + 1)
            print("\n".join(rows_of_table(chunk_size, compare(url, windows))), flush=True)
    with served(folder, 0.0, 2e9) as url:
        print("\n| chunk_size | requests per million rows | GB per million rows |\n|---|---|---|")
        for chunk_size in arguments.chunk_sizes:
            requests, n_bytes = cost(url, chunk_size, window, 2)
            print(f"| {chunk_size} | {1e6 * requests:,.0f} | {1e6 * n_bytes / 1e9:.1f} |", flush=True)


if __name__ == "__main__":
    main()
