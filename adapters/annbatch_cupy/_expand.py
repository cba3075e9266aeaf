"""Make sparse batches dense on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

SUMS = {
    "bool": "int32",
    "int8": "int32",
    "int16": "int32",
    "uint8": "uint32",
    "uint16": "uint32",
    "int64": "uint64",
    "float16": "float32",
}
"""The dtype to add in, where CUDA's ``atomicAdd`` lacks a dtype: cast back, the sums are the same modulo 2**bits.
float16 is then rounded once, not at every addition."""


def expand(data: Any, indices: Any, indptr: Any, *, shape: tuple[int, int]) -> Any:
    """Return the dense array of a CSR matrix; repeated columns in a row add up.

    Parameters
    ----------
    data, indices, indptr
        CuPy arrays without padding.
    shape
        ``(n_rows, n_columns)``.

    Returns
    -------
    cupy.ndarray
        ``shape``, with the dtype of ``data``.
    """
    import cupy
    import cupyx

    if data.dtype.kind == "c":
        dense = cupy.empty(shape, data.dtype)
        dense.real = expand(data.real, indices, indptr, shape=shape)
        dense.imag = expand(data.imag, indices, indptr, shape=shape)
        return dense
    # The row of element j is the number of rows that end at or before it. (`repeat` needs counts on the host.)
    rows = cupy.searchsorted(indptr, cupy.arange(data.size, dtype=indptr.dtype), side="right") - 1
    sums = cupy.zeros(shape, SUMS.get(data.dtype.name, data.dtype))
    cupyx.scatter_add(sums, (rows, indices), data.astype(sums.dtype, copy=False))
    return sums != 0 if data.dtype == np.bool_ else sums.astype(data.dtype, copy=False)
