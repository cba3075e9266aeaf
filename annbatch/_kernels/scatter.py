"""Copy rows into batches, without the GIL, on the calling thread.

Each kernel has its NumPy oracle in ``tests/core/_kernels/test_scatter.py``. None is ``parallel=True``: numba's
threading layers clash with other users of OpenMP. The package's own threads each call a kernel for a share of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .copy import LARGE, LONG, copy, fence, prefetch
from .intrinsics import borrowed
from .jit import kernel

if TYPE_CHECKING:
    import numpy as np


@kernel
def scatter(source: np.ndarray, start: np.ndarray, length: np.ndarray, dest: np.ndarray, out: np.ndarray) -> None:
    """Copy ``source[start:start + length]`` to ``out[dest:dest + length]`` for each piece, casting.

    Parameters
    ----------
    source, out
        Flat arrays of any numeric dtypes.
    start, length, dest
        ``(n,)`` int64, in elements.
    """
    large, long = out.nbytes >= LARGE, LONG // out.itemsize
    source, out = borrowed(source), borrowed(out)
    for i in range(start.size):
        n = length[i]
        if i + 1 < start.size and length[i + 1] < long:
            prefetch(out.ctypes.data + dest[i + 1] * out.itemsize)
        # Slices, not offset arithmetic inside the loop: this form vectorises (4.7 against 1.1 G values/s).
        copy(source[start[i] : start[i] + n], out[dest[i] : dest[i] + n], large and n >= long)
    fence()


@kernel
def fill_indptr(length: np.ndarray, edges: np.ndarray, batch: np.ndarray, out: np.ndarray) -> None:
    """Write the ``indptr`` of each batch, which starts at 0.

    Parameters
    ----------
    length
        ``(n_rows,)`` non-zeros per row.
    edges
        ``(n_batches + 1,)`` first row of each batch.
    batch
        ``(n_batches + 1,)`` first element of each batch's ``indptr`` in ``out``.
    out
        Flat, int32 or int64.
    """
    for b in range(edges.size - 1):
        total = 0
        to = out[batch[b] : batch[b] + edges[b + 1] - edges[b] + 1]
        to[0] = 0
        for i in range(edges[b], edges[b + 1]):
            total += length[i]
            to[i - edges[b] + 1] = total


@kernel
def pad(batch: np.ndarray, filled: np.ndarray, capacity: np.ndarray, value: int, out: np.ndarray) -> None:
    """Fill each batch from ``filled`` to ``capacity`` with ``value``."""
    for b in range(filled.size):
        for j in range(batch[b] + filled[b], batch[b] + capacity[b]):
            out[j] = value


@kernel
def densify(data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, out: np.ndarray) -> None:
    """Add a CSR matrix to a dense one; columns that a row repeats add up.

    Parameters
    ----------
    data, indices, indptr
        The CSR arrays; entries beyond ``indptr[-1]`` are ignored.
    out
        ``(n_rows, n_columns)``, zeroed by the caller.

    Raises
    ------
    IndexError
        If an index is no column: it would be written outside the matrix.
    """
    for i in range(indptr.size - 1):
        row = out[i]
        for j in range(indptr[i], indptr[i + 1]):
            if not 0 <= indices[j] < row.size:
                raise IndexError("`indices` must be columns of the matrix, but one is outside it: damaged.")
            row[indices[j]] += data[j]


def scatter_cast(source: np.ndarray, start: np.ndarray, length: np.ndarray, dest: np.ndarray, out: np.ndarray) -> None:
    """Copy as :func:`scatter` does, for every numeric dtype of NumPy.

    Equal dtypes are copied as bits, so that one compiled kernel serves all dtypes of a size. NumPy makes casts from and
    to float16, which numba lacks on the CPU, and complex.
    """
    if source.dtype == out.dtype and source.dtype.itemsize in (1, 2, 4, 8):
        bits = f"u{source.dtype.itemsize}"
        scatter(source.view(bits), start, length, dest, out.view(bits))
    elif kernels_cast(source.dtype, out.dtype):
        scatter(source, start, length, dest, out)
    else:
        for a, n, b in zip(start.tolist(), length.tolist(), dest.tolist(), strict=True):
            out[b : b + n] = source[a : a + n]


def kernels_cast(stored: np.dtype, target: np.dtype) -> bool:
    """Return whether kernels can cast between two dtypes: numba has no float16 on the CPU, nor long double."""
    return all(dtype.kind in "biuf" and dtype.char not in "eg" for dtype in (stored, target))
