"""Convert host batches to tensors: sharing memory on the CPU, with one transfer to a GPU."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from annbatch.abc import Adapter
from annbatch.errors import MissingDependencyError
from annbatch.transforms import NormalizeLog1p

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import torch

    from annbatch.batch import CSR, CompactWindow
    from annbatch.transforms import Transform

    from ._transfer import Transfer


class TorchAdapter(Adapter):
    """Delivers batches as tensors: ``torch.sparse_csr`` tensors where the data is sparse.

    On the CPU a tensor shares the memory of the batch. For a CUDA device, windows are read into pinned memory and
    batches are copied on a separate stream while the model computes; the tensors are ready for the stream that
    was current when the batch was requested.

    Parameters
    ----------
    device
        Device of the tensors, in any form that ``torch.device`` takes; None: the CPU.
    stages
        Whether with ``densify=True`` sparse data goes to the device one window at a time, in its compact stored form,
        and becomes dense there (also in float16 and bfloat16). None: on a CUDA device, where this halves the bytes
        transferred; on the CPU annbatch's own kernel is faster.

    Raises
    ------
    annbatch.errors.MissingDependencyError
        If PyTorch is not installed.
    ValueError
        If PyTorch cannot use ``device`` on this machine.

    Notes
    -----
    PyTorch computes little with ``uint16``, ``uint32`` and ``uint64`` tensors; ``Loader(dtype="float32")`` casts while
    reading, which is free. The indices of ``sparse_csr`` tensors were checked when the store was written, not here.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch_torch import TorchAdapter
    >>> host = np.array([1.0, 2.0], dtype=np.float32)
    >>> tensor = TorchAdapter().dense(host)
    >>> tensor.data_ptr() == host.ctypes.data
    True
    """

    name = "torch"
    accelerator = "cuda"

    def __init__(self, device: torch.device | str | int | None = None, *, stages: bool | None = None) -> None:
        require_torch()
        self.device = _usable(device)
        self._stages = self.device.type == "cuda" if stages is None else stages
        self._transfer: Transfer | None = None
        if self.device.type == "cuda":
            from ._transfer import Transfer

            self._transfer = Transfer(self.device)
        _consume_beta_warning()

    def __reduce__(self) -> tuple[Callable[..., TorchAdapter], tuple[type[TorchAdapter], torch.device, bool]]:
        return _remake, (type(self), self.device, self._stages)

    def allocate(self, nbytes: int) -> np.ndarray:
        """Return host memory for a window: pinned for a CUDA device, ordinary otherwise."""
        if self.device.type != "cuda":
            return super().allocate(nbytes)
        import torch

        return torch.empty(nbytes, dtype=torch.uint8, device="cpu", pin_memory=True).numpy()

    def dense(self, array: np.ndarray) -> torch.Tensor:
        """Return a dense host array as a tensor.

        Raises
        ------
        TypeError
            If PyTorch has no such dtype.
        """
        return self._put(array)[0]

    def csr(self, matrix: CSR) -> torch.Tensor:
        """Return a sparse host batch as a ``torch.sparse_csr`` tensor, index dtypes kept.

        Raises
        ------
        TypeError
            If PyTorch has no such dtype.
        """
        nnz = matrix.nnz
        indptr, indices, data = self._put(matrix.indptr, matrix.indices[:nnz], matrix.data[:nnz])
        return _sparse(indptr, indices, data, matrix.shape)

    @property
    def densifies(self) -> bool:
        """Whether dense batches are made by PyTorch, on a GPU or with ``stages=True``."""
        return self.device.type == "cuda" or self._stages

    def densify(self, matrix: CSR) -> torch.Tensor:
        """Return a sparse host batch as a dense tensor: made on a CUDA device, or on the host for any other.

        Raises
        ------
        TypeError
            If PyTorch has no such dtype.
        """
        if self.device.type != "cuda":
            return self.dense(matrix.to_dense())
        from ._transfer import room_for

        sent = self.csr(matrix)
        with room_for("A dense batch", matrix.shape[0] * matrix.shape[1] * sent.dtype.itemsize, self.device):
            return expand(sent)

    @property
    def stages(self) -> bool:
        """Whether windows that become dense go to the device whole."""
        return self._stages

    def applies(self, transform: Transform) -> bool:
        """Return whether it is :class:`~annbatch.transforms.NormalizeLog1p`, the only transform done on the device."""
        return isinstance(transform, NormalizeLog1p)

    def stage(self, window: CompactWindow) -> Callable[[int], torch.Tensor]:
        """Start transferring a window to the device; see :meth:`annbatch.abc.Adapter.stage`.

        Raises
        ------
        TypeError
            If PyTorch has no such dtype.
        annbatch.errors.DeviceMemoryError
            If the device has no room.
        """
        from ._stage import StagedWindow

        arrays = [window.data, window.indices, window.indptr]
        if window.columns is not None:
            arrays.append(window.columns)
        return StagedWindow(window, self._send(*arrays))

    def _put(self, *arrays: np.ndarray) -> list[torch.Tensor]:
        return self._send(*arrays)()

    def _send(self, *arrays: np.ndarray) -> Callable[[], list[torch.Tensor]]:
        """Start moving arrays; return a function that returns the tensors, ready for the stream current at its call."""
        tensors = [_over(array) for array in arrays]
        if self._transfer is not None:
            return self._transfer.send(tensors).receive
        moved = [tensor.to(self.device) for tensor in tensors]
        return lambda: moved


def require_torch() -> None:
    """Raise :class:`annbatch.errors.MissingDependencyError` if PyTorch is not installed."""
    try:
        import torch  # noqa: F401 - only to see whether it imports
    except ModuleNotFoundError as exc:
        raise MissingDependencyError("Adapter 'torch' needs PyTorch: `pip install torch`.") from exc


def expand(matrix: torch.Tensor) -> torch.Tensor:
    """Return a ``sparse_csr`` tensor as a dense one on its device; repeated columns add up.

    Works for every dtype, unlike ``Tensor.to_dense``: PyTorch cannot add unsigned integers except ``uint8``, so their
    bits are added as signed integers, which gives the same sum modulo 2**bits.
    """
    import torch

    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
    if matrix.dtype not in signed:
        return matrix.to_dense()
    values = matrix.values().view(signed[matrix.dtype])
    shape = (matrix.shape[0], matrix.shape[1])
    return _sparse(matrix.crow_indices(), matrix.col_indices(), values, shape).to_dense().view(matrix.dtype)


def _over(array: np.ndarray) -> torch.Tensor:
    """Return a tensor that shares the memory of ``array``."""
    import torch

    if not array.flags.writeable:
        array = array.copy()  # tensors are always writable, but the owner of a read-only array forbids writing
    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as exc:  # ValueError: non-native byte order
        raise TypeError(
            f"PyTorch has no dtype {array.dtype}: choose another (`Loader(dtype='float32')`), or leave the column out "
            "(`obs_columns`)."
        ) from exc


def _sparse(indptr: torch.Tensor, indices: torch.Tensor, data: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    import torch

    # Without `device`, `torch.set_default_device` would move the tensor.
    return torch.sparse_csr_tensor(indptr, indices, data, size=shape, device=data.device, check_invariants=False)


def _usable(device: torch.device | str | int | None) -> torch.device:
    import torch

    try:
        usable = torch.device("cpu" if device is None else device)
        return torch.empty(1, device=usable).device  # with its index: what "cuda" means can change
    except (AssertionError, RuntimeError) as exc:  # AssertionError: "Torch not compiled with CUDA enabled"
        accelerator = torch.accelerator.current_accelerator()
        count = torch.accelerator.device_count()
        there = ", ".join(["'cpu'", *(f"'{accelerator}:{i}'" for i in range(count))])
        raise ValueError(f"`device` must be one that PyTorch can use here ({there}), got {device!r}.") from exc


def _consume_beta_warning() -> None:
    """Consume the warning "Sparse CSR tensor support is in beta state", which PyTorch issues once per process."""
    import torch

    nothing = torch.zeros(1, dtype=torch.int32, device="cpu")
    # The filter stays: `catch_warnings` would restore filters that another thread changed meanwhile.
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
    _sparse(nothing, nothing[:0], nothing[:0], (0, 0))


def _remake(cls: type[TorchAdapter], device: torch.device, stages: bool) -> TorchAdapter:
    return cls(device, stages=stages)
