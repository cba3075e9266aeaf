"""Which byte ranges share a request: integers only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """The requests that cover some byte ranges.

    Attributes
    ----------
    file, start, stop
        ``(n_requests,)`` int64 file or object of each request, and its bytes.
    request
        ``(n_ranges,)`` int64 request that covers each range.
    """

    file: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    request: np.ndarray

    def __len__(self) -> int:
        return len(self.file)


def plan_requests(
    file: np.ndarray, start: np.ndarray, stop: np.ndarray, *, gap: int, largest: int | None = None
) -> RequestPlan:
    """Join byte ranges that lie close together in one file or object.

    Parameters
    ----------
    file, start, stop
        ``(n_ranges,)`` int64 file of each range, and its bytes, in any order. Ranges may overlap; none is empty.
    gap
        Largest distance of ranges that are joined.
    largest
        Most bytes of joined ranges; a longer single range stays whole. None: any number.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch._plan.requests import plan_requests
    >>> file, start, stop = np.array([[0, 50, 60], [1, 0, 10], [0, 0, 45]]).T
    >>> plan = plan_requests(file, start, stop, gap=8)
    >>> plan.file, plan.start, plan.stop, plan.request
    (array([0, 1]), array([0, 0]), array([60, 10]), array([0, 1, 0]))
    """
    order = np.lexsort((start, file))
    file, start, stop = file[order], start[order], stop[order]
    begins = np.ones(len(order), bool)
    begins[1:] = file[1:] != file[:-1]
    reached = stop.copy()  # ranges may lie within earlier ones
    for a, b in pairwise([*np.flatnonzero(begins).tolist(), len(order)]):
        np.maximum.accumulate(stop[a:b], out=reached[a:b])
    begins[1:] |= start[1:] > reached[:-1] + gap
    if largest is not None:
        _split(begins, start, stop, reached, largest)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(order))[: len(first)] - 1
    request = np.empty(len(order), np.int64)
    request[order] = np.cumsum(begins) - 1
    return RequestPlan(file[first], start[first], reached[last], request)


def _split(begins: np.ndarray, start: np.ndarray, stop: np.ndarray, reached: np.ndarray, largest: int) -> None:
    """Begin another request wherever one would become too large."""
    first = np.flatnonzero(begins)
    ends = np.append(first[1:], len(begins))[: len(first)]
    too_large = reached[ends - 1] - start[first] > largest
    for a, b in zip(first[too_large].tolist(), ends[too_large].tolist(), strict=True):
        begin, end = int(start[a]), int(stop[a])
        for i, (low, high) in enumerate(zip(start[a:b].tolist(), stop[a:b].tolist(), strict=True), a):
            if high > end and high - begin > largest:
                begins[i], begin = True, low
            end = max(end, high)
