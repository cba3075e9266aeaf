"""Move windows to a device in compact form and make dense batches there, by one jitted scatter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from annbatch.errors import DeviceMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from annbatch.batch import CompactWindow

room_for = partial(DeviceMemoryError.instead_of, jax.errors.JaxRuntimeError, code="RESOURCE_EXHAUSTED")


class StagedWindow:
    """A window on its way to a device, each batch in separate arrays: slices would be more shapes to compile for.

    Parameters
    ----------
    window
        The window to move.
    put
        Function that starts moving arrays to the device.
    """

    def __init__(self, window: CompactWindow, put: Callable[..., tuple[jax.Array, ...]]) -> None:
        self._shapes = [window.shape(i) for i in range(window.n_batches)]
        self._options = {
            "dtype": window.dtype,
            "target_sum": None if window.transform is None else window.transform.target_sum,  # type: ignore[attr-defined]
        }
        self._columns = None if window.columns is None else put(window.columns)[0]
        cuts = [_cut(window, i) for i in range(window.n_batches)]
        parts = [window.indptr[window.pointers(i)] for i in range(window.n_batches)]
        sent = put(*(array for cut in cuts for array in cut[:2]), *parts)
        self._batches = [(sent[2 * i], sent[2 * i + 1], sent[2 * len(cuts) + i], cut[2]) for i, cut in enumerate(cuts)]

    def __call__(self, batch: int) -> jax.Array:
        """Return a dense batch on the device."""
        data, indices, indptr, begin = self._batches[batch]
        shape = self._shapes[batch]
        nbytes = shape[0] * shape[1] * jnp.dtype(self._options["dtype"]).itemsize
        with room_for("A dense batch", nbytes, next(iter(data.devices()))):
            dense: jax.Array = expand(data, indices, indptr, begin, self._columns, shape=shape, **self._options)
        return dense


def room(nnz: int) -> int:
    """Return the number of values to send for ``nnz``: rounded up by at most an eighth, to meet few shapes.

    >>> from annbatch_jax._stage import room
    >>> [room(nnz) for nnz in (0, 256, 257, 1_000, 1_000_000)]
    [256, 256, 288, 1024, 1048576]
    """
    nnz = max(nnz, 256)
    step = 1 << max(0, nnz.bit_length() - 4)
    return -(-nnz // step) * step


def _cut(window: CompactWindow, batch: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a part of the window, of one of few sizes, that holds a batch, and where in it the batch begins."""
    elements = window.elements(batch)
    size = room(elements.stop - elements.start)
    if len(window.data) < size:
        missing = (0, size - len(window.data))
        return np.pad(window.data, missing), np.pad(window.indices, missing), elements.start
    start = min(elements.start, len(window.data) - size)
    return window.data[start : start + size], window.indices[start : start + size], elements.start - start


@partial(jax.jit, static_argnames=("shape", "dtype", "target_sum"))
def expand(
    data: jax.Array,
    indices: jax.Array,
    indptr: jax.Array,
    begin: int,
    columns: jax.Array | None,
    *,
    shape: tuple[int, int],
    dtype: str,
    target_sum: float | None,
) -> jax.Array:
    """Return rows in compact form as a dense array.

    Parameters
    ----------
    data, indices
        ``(size,)``; the rows begin at element ``begin`` and have ``indptr[-1]`` elements.
    indptr
        ``(n_rows + 1,)``, from 0.
    columns
        Target of each stored column, -1 to drop it; None: columns stay in place.
    shape, dtype
        Shape and dtype of the result. Values are added in float32 for halves, else in ``dtype``.
    target_sum
        Total to which rows are normalised before their logarithm is taken; None: no change.
    """
    n_rows = shape[0]
    place = jnp.arange(len(data)) - begin
    # The row of an element is the number of rows that end at or before it.
    ended = jnp.zeros(len(data) + 1, jnp.int32).at[jnp.minimum(indptr[1:] + begin, len(data))].add(1)
    rows = jnp.cumsum(ended[:-1])
    at = indices.astype(jnp.int32)
    stays = (place >= 0) & (place < indptr[-1])
    if columns is not None:
        at = columns[at]
        stays &= at >= 0
    result = jnp.dtype(dtype)
    adding = _adding(result)
    values = jnp.where(stays, data.astype(adding), jnp.zeros((), adding))
    if target_sum is not None:
        totals = jax.ops.segment_sum(values, rows, n_rows)
        scales = jnp.where(totals == 0, 1, target_sum / totals)
        values = jnp.log1p(values * scales[rows])
    dense = jnp.zeros(shape, adding).at[jnp.where(stays, rows, n_rows), at].add(values, mode="drop")
    return dense != 0 if result.kind == "b" else dense.astype(result)


def _adding(dtype: np.dtype) -> np.dtype:
    """Return the dtype to add in: JAX adds no booleans, and halves are then rounded once, not at every addition."""
    if dtype.kind == "b":
        return np.dtype(np.int32)
    half = dtype.itemsize == 2 and jnp.issubdtype(dtype, jnp.floating)
    return np.dtype(np.float32) if half else dtype
