"""Convert host batches to CuPy arrays, with one transfer from pinned memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError
from annbatch.transforms import NormalizeLog1p

from ._expand import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from annbatch.batch import CSR, CompactWindow
    from annbatch.transforms import Transform

    from ._transfer import Sent

_SPARSE = frozenset("?fdFD")
"""Characters of the dtypes that ``cupyx.scipy.sparse`` supports."""

_MOST, _EXACT = 2**31 - 1, 2**53


class CupyAdapter(Adapter):
    """Delivers batches as CuPy arrays, or as ``cupyx.scipy.sparse.csr_matrix`` where the data is sparse.

    Windows are read into pinned memory from CuPy's pool, and copied on a separate stream while yours computes. Batches
    belong to the stream that is current when they are requested, and are ready for it. With ``densify=True`` sparse
    data travels one window at a time, in its compact stored form.

    Parameters
    ----------
    device
        Number of a CUDA device; None: the current one.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If CuPy is not installed.
    ValueError
        If this machine has no such ``device``.

    Examples
    --------
    ::

        from annbatch_cupy import CupyAdapter

        loader = Loader(batch_size=4096, to=CupyAdapter(device=1)).use_collection(
            collection
        )
    """

    name = "cupy"

    def __init__(self, device: int | None = None) -> None:
        try:
            import cupy  # noqa: F401 - only to see whether it imports
        except ModuleNotFoundError as exc:
            raise MissingDependencyError(
                "Adapter 'cupy' needs CuPy: `pip install cupy-cuda12x` (or `cupy-cuda13x`)."
            ) from exc
        self.device = _usable(device)
        from ._transfer import Transfer

        self._transfer = Transfer(self.device)

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

        Integers and float16, which ``cupyx.scipy.sparse`` lacks, become float32 if they have up to two bytes, else
        float64; indices become int32.

        Raises
        ------
        TypeError
            If a value is not exact in that dtype, or the batch needs int64 indices.
        """
        import cupy
        from cupyx.scipy import sparse

        nnz, dtype = matrix.nnz, _sparse_dtype(matrix.data[: matrix.nnz])
        if np.int64 in (matrix.indices.dtype, matrix.indptr.dtype) and max(nnz, matrix.shape[1]) > _MOST:
            raise TypeError(
                f"CuPy's sparse matrices have int32 indices, got int64 for {nnz} non-zeros in {matrix.shape[1]} "
                "columns: make `batch_size` smaller."
            )
        indices = matrix.indices[:nnz].astype(np.int32, copy=False)
        data, indices, indptr = self._put(matrix.data[:nnz], indices, matrix.indptr.astype(np.int32, copy=False))
        with cupy.cuda.Device(self.device):
            # The three-array constructor reads `indptr` back from the device, which synchronizes.
            result = sparse.csr_matrix(matrix.shape, dtype=dtype)
            result.data = data.astype(dtype, copy=False)
        result.indices, result.indptr = indices, indptr
        return result

    @property
    def densifies(self) -> bool:
        """Whether batches are made dense on the device."""
        return True

    def densify(self, matrix: CSR) -> Any:
        """Return a sparse host batch as a CuPy array, made on the device.

        Raises
        ------
        TypeError
            If CuPy has no such dtype.
        """
        import cupy

        from ._transfer import room_for

        nnz = matrix.nnz
        sent = self._send(matrix.data[:nnz], matrix.indices[:nnz], matrix.indptr)
        nbytes = matrix.shape[0] * matrix.shape[1] * matrix.data.itemsize
        room = room_for("A dense batch", nbytes, f"CUDA device {self.device}")
        with cupy.cuda.Device(self.device), room, sent.reading() as arrays:
            return expand(*arrays, shape=matrix.shape)

    @property
    def stages(self) -> bool:
        """Whether windows that become dense go to the device whole."""
        return True

    def applies(self, transform: Transform) -> bool:
        """Return whether it is :class:`~annbatch.transforms.NormalizeLog1p`, the only transform done on the device."""
        return isinstance(transform, NormalizeLog1p)

    def stage(self, window: CompactWindow) -> Callable[[int], Any]:
        """Start transferring a window to the device; see :meth:`annbatch.abc.Adapter.stage`.

        Raises
        ------
        TypeError
            If CuPy has no such dtype.
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        from ._stage import StagedWindow

        if window.dtype == "bfloat16":
            raise TypeError("CuPy has no dtype bfloat16: choose another (`Loader(dtype='float16')`).")
        arrays = [window.data, window.indices, window.indptr]
        if window.columns is not None:
            arrays.append(window.columns)
        return StagedWindow(window, self._send(*arrays), self.device)

    def _put(self, *arrays: np.ndarray) -> list[Any]:
        import cupy

        from ._transfer import room_for

        sent, nbytes = self._send(*arrays), sum(array.nbytes for array in arrays)
        room = room_for("A batch", nbytes, f"CUDA device {self.device}")
        with cupy.cuda.Device(self.device), room, sent.reading() as copies:
            return [copy.copy() for copy in copies]  # in memory of the user's current stream

    def _send(self, *arrays: np.ndarray) -> Sent:
        for array in arrays:
            if array.dtype.kind not in "biufc" or array.dtype.char in "gG" or not array.dtype.isnative:
                raise TypeError(
                    f"CuPy has no dtype {array.dtype}: choose another (`Loader(dtype='float32')`), or leave the column "
                    "out (`obs_columns`)."
                )
        return self._transfer.send(arrays)


def _sparse_dtype(data: np.ndarray) -> np.dtype:
    """Return the dtype in which ``cupyx.scipy.sparse`` holds values, or raise ``TypeError`` where they would change."""
    if data.dtype.char in _SPARSE:
        return data.dtype
    dtype = np.dtype(np.float32 if data.dtype.itemsize <= 2 else np.float64)
    if data.dtype.kind not in "iu" and data.dtype != np.float16:
        lost = "it"
    elif data.dtype.itemsize == 8 and len(large := data[(data > _EXACT) | (data < -_EXACT)]):
        lost = str(large[0])
    else:
        return dtype
    raise TypeError(
        f"CuPy has no sparse matrix of dtype {data.dtype}, and {dtype} does not hold {lost}: choose another "
        "(`Loader(dtype='float32')`), or dense batches (`Loader(densify=True)`)."
    )


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
