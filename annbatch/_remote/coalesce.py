"""Which bytes are asked for together: integers only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GAP_BYTES = 64 << 10
"""Unwanted bytes that it is cheaper to fetch than to skip. A request of its own costs a client about 0.4 ms of a core,
and whatever the store bills for it; at 100 MB/s these bytes take 0.6 ms."""

LARGEST_BYTES = 4 << 20
"""The most that ranges are joined to. At 20 ms to the first byte and 100 MB/s a request of this size waits for a third
of its time, which others fill; a larger one would only cost more to repeat."""


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The requests that cover some byte ranges.

    Attributes
    ----------
    file, start, stop
        ``(n_requests,)`` int64: which object, and which of its bytes.
    of
        ``(n_ranges,)`` int64: the request that covers each range.
    """

    file: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    of: np.ndarray

    def __len__(self) -> int:
        return len(self.file)


def plan_requests(
    file: np.ndarray, start: np.ndarray, stop: np.ndarray, *, gap: int = GAP_BYTES, largest: int = LARGEST_BYTES
) -> RequestPlan:
    """Join byte ranges that lie close together in one object.

    Parameters
    ----------
    file, start, stop
        ``(n_ranges,)`` int64, in any order. Ranges may overlap.
    gap
        Ranges that lie no further apart are joined.
    largest
        Joined up to this many bytes; one that is longer by itself stays whole.
    """
    order = np.lexsort((start, file))
    files: list[int] = []
    starts: list[int] = []
    stops: list[int] = []
    of = np.empty(len(order), dtype=np.int64)
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
        of[i] = len(files) - 1
    return RequestPlan(np.array(files, np.int64), np.array(starts, np.int64), np.array(stops, np.int64), of)
