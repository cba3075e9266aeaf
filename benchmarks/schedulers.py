"""Fetch the same byte ranges through annbatch, through obstore and through zarr, in turns."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import obstore
import zarr
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import ObjectStore

from annbatch import DatasetCollection, RemoteStore
from annbatch._arrays.open import open_rows
from annbatch._arrays.read_plan import plan_reads
from annbatch._arrays.remote import GAP_BYTES, LARGEST_BYTES
from annbatch._plan.pieces import Pieces
from annbatch._plan.requests import plan_requests
from annbatch._remote.fetch import ByteRange
from annbatch._remote.requests import ObjectRange
from annbatch._remote.store import REQUESTS


@dataclass(frozen=True, slots=True)
class Ranges:
    """Byte ranges of one object, ascending."""

    path: str
    start: np.ndarray
    stop: np.ndarray


@dataclass(frozen=True, slots=True)
class Sample:
    """What fetching the ranges of one window took, and of how many bytes those ranges are."""

    seconds: float
    first: float
    requests: int
    sent: int
    wanted: int


Scheduler = Callable[[list[Ranges]], Iterator[int]]
"""Fetches ranges; yields the bytes of each response as soon as it can be used."""


def ranges_of_windows(folder: Path, chunk_size: int, window: int, n_windows: int) -> list[list[Ranges]]:
    """Return the ranges of the chunks that each window of a shuffling loader needs of X."""
    (group, *_) = DatasetCollection(folder, mode="r")
    source: Any = open_rows(group["X"])
    n_rows = source.shape[0]
    rng = np.random.default_rng(0)
    windows = []
    for _ in range(n_windows):
        first = np.sort(rng.permutation(n_rows // chunk_size)[: window // chunk_size]) * chunk_size
        rows = (first[:, None] + np.arange(chunk_size)).ravel()
        start, length = source.extents(rows)
        pieces = Pieces(start, length, np.zeros_like(start)).part(length > 0)
        windows.append([one for array in source.arrays for one in _ranges_of_array(folder, array, pieces)])
    return windows


def _ranges_of_array(folder: Path, array: Any, pieces: Pieces) -> Iterator[Ranges]:
    gap, stretch = array.tuning()
    reads = plan_reads(pieces, chunk=array.layout.chunk, gap=gap, stretch=stretch)
    number = reads.chunk // array.layout.per_file
    with array.locate(reads).opened() as chunks:
        start, stop = chunks.offset.copy(), chunks.offset + chunks.nbytes
    for file in np.unique(number).tolist():
        path = array.layout.file(file).relative_to(folder).as_posix()
        _, one = np.unique(start[number == file], return_index=True)  # a chunk may have several stretches
        yield Ranges(path, start[number == file][one], stop[number == file][one])


def schedulers(url: str) -> dict[str, Scheduler]:
    """Return all schedulers that are installed, by their names in the table."""
    upstream = partial(obstore.store.from_url, url, client_options={"allow_http": True})
    found: dict[str, Scheduler] = {
        "annbatch": partial(_annbatch, RemoteStore(upstream())),
        "obstore.get_ranges_async": partial(_in_turn, partial(_obstore, upstream(), {})),
        "obstore, gaps as annbatch": partial(_in_turn, partial(_obstore, upstream(), {"coalesce": GAP_BYTES})),
    }
    if hasattr(ObjectStore, "get_ranges"):  # from zarr 3.4 on
        ours = {"max_gap_bytes": GAP_BYTES, "max_coalesced_bytes": LARGEST_BYTES}
        limits: dict[str, dict[str, int]] = {
            "Store.get_ranges": {},
            "zarr, gaps as annbatch": ours,
            "zarr, gaps and requests as annbatch": {**ours, "max_concurrency": REQUESTS},
        }
        for name, how in limits.items():
            label = f"zarr {zarr.__version__} {name}" if name.startswith("Store") else name
            found[label] = partial(_in_turn, partial(_zarr, ObjectStore(upstream()), how))
    return found


def _annbatch(store: RemoteStore, objects: list[Ranges]) -> Iterator[int]:
    file = np.repeat(np.arange(len(objects)), [len(one.start) for one in objects])
    start, stop = (np.concatenate([getattr(one, name) for one in objects]) for name in ("start", "stop"))
    plan = plan_requests(file, start, stop, gap=GAP_BYTES, largest=LARGEST_BYTES)
    requests = deque(
        store.requests.submit(
            [
                ObjectRange(objects[number].path, ByteRange(a, b), None, b - a, lambda: "Reading")
                for number, a, b in zip(plan.file.tolist(), plan.start.tolist(), plan.stop.tolist(), strict=True)
            ]
        )
    )
    while requests:  # one that is kept would keep its memory reserved
        response = requests.popleft().result()
        assert response is not None
        yield len(response.data)


def _in_turn(fetch: Callable[[Ranges], AsyncIterator[int]], objects: list[Ranges]) -> Iterator[int]:
    """Fetch the ranges of all objects at a time; yield what comes, in the order in which it comes."""

    async def run() -> AsyncIterator[int]:
        queue: asyncio.Queue[int | None] = asyncio.Queue()

        async def one(ranges: Ranges) -> None:
            async for nbytes in fetch(ranges):
                queue.put_nowait(nbytes)

        async def everything() -> None:
            try:
                await asyncio.gather(*map(one, objects))
            finally:
                queue.put_nowait(None)

        task = asyncio.ensure_future(everything())
        while (nbytes := await queue.get()) is not None:
            yield nbytes
        await task

    with asyncio.Runner() as runner:
        responses = run()
        while (nbytes := runner.run(_next(responses))) is not None:
            yield nbytes


async def _next(responses: AsyncIterator[int]) -> int | None:
    return await anext(responses, None)


async def _obstore(store: Any, how: dict[str, int], ranges: Ranges) -> AsyncIterator[int]:
    found = await obstore.get_ranges_async(
        store, ranges.path, starts=ranges.start.tolist(), ends=ranges.stop.tolist(), **how
    )
    yield sum(map(len, found))


async def _zarr(store: Any, how: dict[str, int], ranges: Ranges) -> AsyncIterator[int]:
    requests = [RangeByteRequest(a, b) for a, b in zip(ranges.start.tolist(), ranges.stop.tolist(), strict=True)]
    async for group in store.get_ranges(ranges.path, requests, prototype=default_buffer_prototype(), **how):
        yield sum(len(buffer) for _, buffer in group)


def compare(url: str, windows: list[list[Ranges]]) -> dict[str, list[Sample]]:
    """Fetch each window with each scheduler in turn; the first window, which opens the connections, does not count."""
    contenders = schedulers(url)
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number, window in enumerate(windows):
        wanted = sum(int((one.stop - one.start).sum()) for one in window)
        for name, fetch in contenders.items():
            before, begin = _sent(url), time.perf_counter()
            responses = fetch(window)
            next(responses)
            first = time.perf_counter() - begin
            for _ in responses:
                pass
            seconds = time.perf_counter() - begin
            requests, sent = (after - b for after, b in zip(_sent(url), before, strict=True))
            if number:
                samples[name].append(Sample(seconds, first, requests, sent, wanted))
    return samples


def _sent(url: str) -> tuple[int, int]:
    """Return how many requests the server has answered, and with how many bytes."""
    with urllib.request.urlopen(f"{url}/.sent") as response:
        requests, nbytes = map(int, response.read().split())
    return requests, nbytes


def rows_of_table(chunk_size: int, samples: dict[str, list[Sample]]) -> Iterator[str]:
    """Return the rows of a table: medians over the windows, and the ratio of seconds within a window."""
    (_, ours), *_ = samples.items()
    for name, found in samples.items():
        seconds, first, requests, sent = (
            median(getattr(one, field) for one in found) for field in ("seconds", "first", "requests", "sent")
        )
        needless = median(one.sent / one.wanted - 1 for one in found)
        ratio = median(one.seconds / base.seconds for one, base in zip(found, ours, strict=True))
        yield (
            f"| {chunk_size} | {name} | {seconds:.2f} | {ratio:.2f} | {first:.2f} | {requests:,.0f} | "
            f"{sent / 1e6:,.1f} | {needless:.1%} |"
        )
