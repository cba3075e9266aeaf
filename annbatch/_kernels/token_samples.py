"""Random choices of genes: kernels of :class:`~annbatch.tokens.RandomGenes`, and of the sampling of ``ScGPTBins``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .jit import inner, kernel
from .random_words import random_below
from .sort import lowest_bit
from .token_ranks import longest_row
from .token_rows import known_columns

_CHOICE = np.uint64(0xD1B54A32D192ED03)
"""Added to the seed of a row, so that what is chosen does not depend on what else is drawn for its elements."""


@inner
def choose(seed: Any, n: int, k: int, chosen: np.ndarray) -> int:
    """Write ``k`` of ``0..n`` in ascending order, each set as likely as any other, or all if there are fewer.

    Selection sampling, algorithm S of Knuth, The Art of Computer Programming, volume 2, section 3.4.2. ``chosen`` needs
    room for one more. Returns their number.
    """
    if n <= k:
        for j in range(n):
            chosen[j] = j
        return n
    seed, found = np.uint64(seed) + _CHOICE, 0
    for j in range(n):  # no branch: three of four may be chosen
        chosen[found] = j
        found += random_below(seed, j, n - j) < k - found
    return k


@kernel
def sample_expressed(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    seeds: np.ndarray,
    columns: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    length: np.ndarray,
) -> None:
    """Write a random choice of each row's genes, in the order of their columns."""
    size, width = longest_row(indptr), ids.shape[1]
    known, chosen = np.empty(size + 1, np.int32), np.empty(max(size, width) + 1, np.int32)
    for i in range(indptr.size - 1):
        row, at = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        n = choose(seeds[i], known_columns(at, columns, known), width, chosen)
        for k in range(n):
            j = known[chosen[k]]
            ids[i, k], values[i, k] = columns[at[j]], row[j]
        length[i] = n


@kernel
def sample_all(
    data: np.ndarray,
    indices: np.ndarray,
    indptr: np.ndarray,
    seeds: np.ndarray,
    columns: np.ndarray,
    ids: np.ndarray,
    values: np.ndarray,
    length: np.ndarray,
) -> None:
    """Write a random choice of all genes that have an id, expressed or not, in the order of their columns.

    Floyd's algorithm (Bentley and Floyd 1987, "A sample of brilliance"): as many draws as genes are chosen.
    """
    genes = np.flatnonzero(columns >= 0)
    k = min(ids.shape[1], genes.size)
    bits = np.zeros((genes.size + 63) // 64, np.uint64)
    dense = np.zeros(columns.size, data.dtype)
    one, last, by_word = np.uint64(1), np.uint64(63), np.uint64(6)
    for i in range(indptr.size - 1):
        row, at = data[indptr[i] : indptr[i + 1]], indices[indptr[i] : indptr[i + 1]]
        seed = seeds[i] + _CHOICE
        for j in range(genes.size - k, genes.size):
            gene = np.uint64(random_below(seed, j, j + 1))
            if bits[gene >> by_word] >> (gene & last) & one:
                gene = np.uint64(j)
            bits[gene >> by_word] |= one << (gene & last)
        for j in range(row.size):
            dense[at[j]] = row[j]
        n = 0
        for word in range(bits.size):
            some = bits[word]
            bits[word] = 0
            while some:
                column = genes[64 * word + lowest_bit(some)]
                ids[i, n], values[i, n] = columns[column], dense[column]
                some &= some - one
                n += 1
        for j in range(row.size):
            dense[at[j]] = 0
        length[i] = n
