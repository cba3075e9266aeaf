"""Complete rows of tokens once an encoder has written them: padding, masks, and the width of a batch."""

from __future__ import annotations

import numpy as np

from .jit import kernel


@kernel
def pad_tokens(
    ids: np.ndarray, values: np.ndarray, mask: np.ndarray, length: np.ndarray, pad_id: int, pad_value: float
) -> int:
    """Fill rows behind their length, and their masks; return a row whose length is no length, or -1."""
    width = ids.shape[1]
    for i in range(length.size):
        n = length[i]
        if n < 0 or n > width:
            return i
        ids[i, n:], values[i, n:] = pad_id, pad_value
        mask[i, :n], mask[i, n:] = True, False
    return -1


@kernel
def narrow_rows(flat: np.ndarray, n_rows: int, width: int, new_width: int) -> None:
    """Move rows of a flat array together, so that they are ``new_width`` wide."""
    for i in range(1, n_rows):
        for j in range(new_width):
            flat[i * new_width + j] = flat[i * width + j]


@kernel
def known_columns(indices: np.ndarray, ids: np.ndarray, known: np.ndarray) -> int:
    """Write the positions of the elements whose columns have an id to ``known``, and return their number."""
    n = 0
    for j in range(indices.size):
        known[n] = j
        n += ids[indices[j]] >= 0
    return n
