"""Which byte ranges share a request: integers only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GAP_BYTES = 64 << 10
"""Unneeded bytes that are cheaper to fetch than to skip. Another request costs a client about 0.4 ms of a core, and
what the store bills for it; at 100 MB/s these bytes take 0.6 ms."""

LARGEST_BYTES = 4 << 20
"""Most bytes of joined ranges. At 20 ms to the first byte and 100 MB/s, a request of this size waits for a third of its
time, which others fill; a larger one would only cost more to retry."""


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The requests that cover some byte ranges.

    Attributes
    ----------
    file, start, stop
        ``(n_requests,)`` int64 object of each request, and its bytes.
    request
        ``(n_ranges,)`` int64 request that covers each range.
    """

    file: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    request: np.ndarray

    def __len__(self) -> int:
        return len(self.file)


# obstore's `get_ranges_async` and zarr's `Store.get_ranges` (from 3.4 on) join ranges, too, but by default up to 1 MB
# apart, with 10 requests at a time per object. They bound no bytes under way; obstore checks no entity tag, and returns
# nothing before all have come. In `python -m benchmarks.remote`, with windows of 16,384 rows in chunks of 64, obstore
# took 3.1 times as long (1.4 with our gap), zarr 2.8 times (1.3 with our gap and size, 1.0 with 64 requests as well).
def plan_requests(
    file: np.ndarray, start: np.ndarray, stop: np.ndarray, *, gap: int = GAP_BYTES, largest: int = LARGEST_BYTES
) -> RequestPlan:
    """Join byte ranges that lie close together in one object.

    Parameters
    ----------
    file, start, stop
        ``(n_ranges,)`` int64 object of each range, and its bytes, in any order. Ranges may overlap.
    gap
        Largest distance of ranges that are joined.
    largest
        Most bytes of joined ranges; a longer single range stays whole.
    """
    order = np.lexsort((start, file))
    files: list[int] = []
    starts: list[int] = []
    stops: list[int] = []
    request = np.empty(len(order), dtype=np.int64)
    for i, number, a, b in zip(
        order.tolist(), file[order].tolist(), start[order].tolist(), stop[order].tolist(), strict=True
    ):
        joins = bool(files) and files[-1] == number and a <= stops[-1] + gap
        if joins and (b <= stops[-1] or b - starts[-1] <= largest):
            stops[-1] = max(stops[-1], b)
        else:
            files.append(number)
            starts.append(a)
            stops.append(b)
        request[i] = len(files) - 1
    return RequestPlan(np.array(files, np.int64), np.array(starts, np.int64), np.array(stops, np.int64), request)
