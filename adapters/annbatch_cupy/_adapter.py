"""Host batches become CuPy arrays, by one transfer from pinned memory."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError

from ._expand import expand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from annbatch.batch import CSR

_SPARSE = frozenset("?fdFD")
"""The dtypes, as characters, that ``cupyx.scipy.sparse`` takes."""


class CupyAdapter(Adapter):
    """Hands batches over as CuPy arrays, and as ``cupyx.scipy.sparse.csr_matrix`` where the data is sparse.

    Windows lie in pinned memory; batches are copied from there on the stream that is current when the batch is
    asked for, without waiting for the copy to end.

    Parameters
    ----------
    device
        Number of a CUDA device; None: the one that is current now.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If CuPy is not installed.
    ValueError
        If there is no such ``device`` on this machine.

    Examples
    --------
    ::

        from annbatch_cupy import CupyAdapter

        loader = Loader(batch_size=4096, to=CupyAdapter(device=1)).use_collection(collection)
    """

    name = "cupy"

    def __init__(self, device: int | None = None) -> None:
        try:
            import cupy  # noqa: F401 - whether it can be imported is the question
        except ModuleNotFoundError as exc:
            raise MissingDependencyError(
                "Adapter 'cupy' needs CuPy: `pip install 'annbatch[cupy-cuda12]'` (or `'annbatch[cupy-cuda13]'`)."
            ) from exc
        self.device = _usable(device)
        self._in_flight: deque[tuple[Any, Sequence[np.ndarray]]] = deque()

    def __reduce__(self) -> tuple[type[CupyAdapter], tuple[int]]:
        return type(self), (self.device,)

    def allocate(self, nbytes: int) -> np.ndarray:
        """Return pinned host memory for a window."""
        import cupy

        with cupy.cuda.Device(self.device):
            memory = cupy.cuda.alloc_pinned_memory(max(nbytes, 1))
        return np.frombuffer(memory, dtype=np.uint8, count=nbytes)

    def dense(self, array: np.ndarray) -> Any:
        """Return a dense host array as a CuPy array.

        Raises
        ------
        TypeError
            If CuPy has no such dtype.
        """
        return self._put(array)[0]

    def csr(self, matrix: CSR) -> Any:
        """Return a sparse host batch as a ``cupyx.scipy.sparse.csr_matrix``.

        Raises
        ------
        TypeError
            If ``cupyx.scipy.sparse`` has no such dtype, or the batch needs int64 indices.
        """
        import cupy
        from cupyx.scipy import sparse

        if matrix.data.dtype.char not in _SPARSE:
            raise TypeError(
                f"CuPy has no sparse matrix of dtype {matrix.data.dtype}: ask for another (`Loader(dtype='float32')`), "
                "or for a dense array (`Loader(densify=True)`)."
            )
        if np.int64 in (matrix.indices.dtype, matrix.indptr.dtype):
            raise TypeError(
                f"CuPy's sparse matrices have int32 indices, got int64 for {matrix.nnz} non-zeros in {matrix.shape[1]} "
                "columns: a smaller `batch_size` makes the non-zeros fit."
            )
        nnz = matrix.nnz
        data, indices, indptr = self._put(matrix.data[:nnz], matrix.indices[:nnz], matrix.indptr)
        with cupy.cuda.Device(self.device):
            # The three-array constructor reads `indptr` back from the device, and waits for it.
            result = sparse.csr_matrix(matrix.shape, dtype=data.dtype)
        result.data, result.indices, result.indptr = data, indices, indptr
        return result

    @property
    def densifies(self) -> bool:
        """Whether dense batches are made on a GPU."""
        return True

    def densify(self, matrix: CSR) -> Any:
        """Return a sparse host batch as a CuPy array, made on the device.

        Raises
        ------
        TypeError
            If CuPy has no such dtype.
        """
        import cupy

        nnz = matrix.nnz
        arrays = self._put(matrix.data[:nnz], matrix.indices[:nnz], matrix.indptr)
        with cupy.cuda.Device(self.device):
            return expand(*arrays, shape=matrix.shape)

    def _put(self, *arrays: np.ndarray) -> list[Any]:
        import cupy

        for array in arrays:
            if array.dtype.kind not in "biufc" or array.dtype.char in "gG" or not array.dtype.isnative:
                raise TypeError(
                    f"CuPy has no array of dtype {array.dtype}: ask for another (`Loader(dtype='float32')`), or leave "
                    "the column out (`obs_columns`)."
                )
        while self._in_flight and self._in_flight[0][0].done:
            self._in_flight.popleft()
        # On the stream of the user, not one of our own: CuPy's allocator gives memory back to the stream that it was
        # taken on, and would lend it to the next copy there while the user's stream still computes on it.
        with cupy.cuda.Device(self.device):
            copies = [cupy.empty(array.shape, array.dtype) for array in arrays]
            for copy, array in zip(copies, arrays, strict=True):
                copy.set(array, stream=cupy.cuda.get_current_stream())
            ended = cupy.cuda.get_current_stream().record()
        # The pool must not lend the host's memory out again before the copy has ended.
        self._in_flight.append((ended, arrays))
        return copies


def _usable(device: int | None) -> int:
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as exc:
        raise ValueError(f"`device` must be a CUDA device, and CuPy finds none here ({exc}), got {device!r}.") from exc
    if device is None:
        return int(cupy.cuda.runtime.getDevice())
    if isinstance(device, bool) or not isinstance(device, int) or not 0 <= device < count:
        raise ValueError(f"`device` must be the number of a CUDA device (below {count} here), got {device!r}.")
    return device
