"""Kernels of :class:`annbatch.tokens.ScGPTBins`: each value becomes the number of its quantile within the row."""

from __future__ import annotations

import numpy as np

from .jit import inner, kernel
from .random_words import random_below
from .token_order import N_BUCKETS, descending_keys, sort_by_key
from .token_ranks import all_positive, longest_row
from .token_rows import known_columns
from .token_samples import choose

_COUNTS = 4096
"""Rows of smaller counts are not sorted: how often each occurs gives the quantiles."""

_LANES = 4


@inner
def as_counts(values: np.ndarray, counts: np.ndarray) -> int:
    """Write positive values as int32, and return the largest; -1 if not all are integers below ``_COUNTS``."""
    wrong = False  # no branch, so that it vectorizes
    for j in range(values.size):
        wrong |= values[j] != np.floor(values[j])
        wrong |= values[j] >= _COUNTS
    if wrong:
        return -1
    largest = 0
    for j in range(values.size):
        counts[j] = np.int32(values[j])
        largest = max(largest, counts[j])
    return largest


@inner
def tally(counts: np.ndarray, largest: int, lanes: np.ndarray) -> None:
    """Write how often each of ``0..largest`` occurs to the first lane; in one, equal counts would wait in turn."""
    lanes[:, : largest + 1] = 0
    for j in range(counts.size):
        lanes[j % _LANES, counts[j]] += 1
    for lane in range(1, _LANES):
        for count in range(largest + 1):
            lanes[0, count] += lanes[lane, count]


@inner
def interpolate(low: float, high: float, share: float) -> float:
    """Return a value between two, rounded as :func:`numpy.quantile` rounds it."""
    step = high - low
    return high - step * (1 - share) if share >= 0.5 else low + step * share


@inner
def edges_of_counts(how_often: np.ndarray, n: int, quantiles: np.ndarray, edges: np.ndarray) -> None:
    """Write the quantiles of ``n`` counts, of which ``how_often[c]`` are ``c``."""
    count, below = 0, how_often[0]  # values smaller than the next count
    for e in range(quantiles.size):
        place = quantiles[e] * (n - 1)
        low = int(place)
        while below <= low:
            count += 1
            below += how_often[count]
        high = count
        if below <= low + 1 < n:
            high += 1
            while how_often[high] == 0:
                high += 1
        edges[e] = interpolate(count, high, place - low)


@inner
def edges_of_sorted(descending: np.ndarray, quantiles: np.ndarray, edges: np.ndarray) -> None:
    """Write the quantiles of sorted values."""
    n = descending.size
    for e in range(quantiles.size):
        place = quantiles[e] * (n - 1)
        low = int(place)
        edges[e] = interpolate(descending[n - 1 - low], descending[max(0, n - 2 - low)], place - low)


@kernel
def bin_rows(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    seeds: np.ndarray,
    columns: np.ndarray,
    quantiles: np.ndarray,
    spread: bool,
    sampling: bool,
    specials: np.ndarray,
    special_value: float,
    ids: np.ndarray,
    values: np.ndarray,
    length: np.ndarray,
) -> int:
    """Write the ids of each row's genes in the order of their columns, and the bins of their values.

    Parameters
    ----------
    data, indices, indptr, seeds
        Canonical rows, and a seed (uint64) of each.
    columns
        ``(n_columns,)`` id of each column, -1 for those left out.
    quantiles
        ``(n_edges,)`` of the values of a row: the edges between bins. A value is in the bin whose number is that of
        the edges that do not exceed it.
    spread
        Whether a value that equals several edges comes into a random one of the bins between these.
    sampling
        Whether a row that is too long is cut to a random choice of its genes, and not to the first.
    specials, special_value
        Ids before the first gene, and their value.
    ids, values, length
        Tokens of the rows.

    Returns
    -------
    int
        A row with a value that cannot be binned, or -1.
    """
    size, room = longest_row(indptr), ids.shape[1] - specials.size
    kept, descending = np.empty(size, np.float64), np.empty(size, np.float64)
    keys, sorted_keys = np.empty(size, np.uint64), np.empty(size, np.uint64)
    known, places, order = np.empty(size + 1, np.int32), np.arange(size).astype(np.int32), np.empty(size, np.int32)
    chosen, buckets = np.empty(max(size, room) + 1, np.int32), np.empty(N_BUCKETS, np.int32)
    slots, lanes, edges = np.empty(size, np.int32), np.empty((_LANES, _COUNTS + 1), np.int32), np.empty(quantiles.size)
    lows, highs = np.empty(max(size, _COUNTS), np.int32), np.empty(max(size, _COUNTS), np.int32)
    first = specials.size
    for i in range(indptr.size - 1):
        row, at = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        if not all_positive(row):
            return i
        n = known_columns(at, columns, known)
        for k in range(n):
            kept[k] = row[known[k]]
        out_ids, out_values = ids[i], values[i]
        for k in range(first):
            out_ids[k], out_values[k] = specials[k], special_value
        length[i] = first
        if n == 0:
            continue
        largest = as_counts(kept[:n], slots)  # then a value's edges are found by its count, else by its position
        low = high = 0
        if largest > 0:
            tally(slots[:n], largest, lanes)
            edges_of_counts(lanes[0], n, quantiles, edges)
            for count in range(largest + 1):
                while low < edges.size and edges[low] < count:
                    low += 1
                while high < edges.size and edges[high] <= count:
                    high += 1
                lows[count], highs[count] = low, high
        else:
            descending_keys(kept[:n], keys)
            sort_by_key(keys[:n], places[:n], n, buckets, sorted_keys[:n], order[:n])
            for k in range(n):
                descending[k] = kept[order[k]]
            edges_of_sorted(descending[:n], quantiles, edges)
            for k in range(n - 1, -1, -1):
                while low < edges.size and edges[low] < descending[k]:
                    low += 1
                while high < edges.size and edges[high] <= descending[k]:
                    high += 1
                j = order[k]
                lows[j], highs[j], slots[j] = low, high, j
        if sampling:
            n = choose(seeds[i], n, room, chosen)
        else:
            n = min(n, room)
            chosen[:n] = places[:n]
        for k in range(n):
            slot, column = slots[chosen[k]], at[known[chosen[k]]]
            out_ids[first + k], out_values[first + k] = columns[column], highs[slot]
            if spread:  # as likely in each of the bins between the edges that it equals
                out_values[first + k] -= random_below(seeds[i], column, max(1, highs[slot] - lows[slot]))
        length[i] = first + n
    return -1
