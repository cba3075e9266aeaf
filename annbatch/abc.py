"""The two contracts that users implement: the order of rows, and the arrays that batches become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from .samplers._base import Sampler as Sampler

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .batch import CSR, CompactWindow
    from .transforms import Transform

__all__ = ["Adapter", "Sampler"]


class Adapter(ABC):
    """The contract of an array framework, so that batches arrive as its arrays.

    An adapter is found by name through the entry-point group ``annbatch.adapters``; the entry point names a
    callable that takes ``device`` and returns the adapter: ``TorchAdapter(device=None)``. The adapter imports its
    framework when it is created, not when its module is imported. If that fails, it raises
    :class:`annbatch.errors.MissingDependencyError` with the ``pip install`` command.

    **Threads.** ``allocate``, ``capacity`` and ``stage`` are called on annbatch's threads, possibly concurrently;
    everything else, including the callable that ``stage`` returns, on the thread that iterates. **Ownership.** The host
    arrays passed to ``dense``, ``csr``, ``densify`` and ``stage`` stay valid while anything refers to them, so share
    their memory instead of copying it on the host. If transfers are asynchronous, keep a reference until the transfer
    has ended. **Types.** Keep dtypes. For one that the framework lacks, raise a :class:`TypeError` that names the dtype
    and a remedy. Adapters are pickled with their loader.

    Test an adapter with :class:`annbatch.testing.AdapterTests`.
    """

    name: str
    """Name for ``Loader(to=...)``; also used in error messages."""

    accelerator: ClassVar[Any] = None
    """The ``device`` of ``Loader(preload_to_gpu=True)``; the default device if None."""

    labels_dtype: ClassVar[str] = "int64"
    """Dtype of ``batch["labels"]``, as loss functions of the framework take it."""

    @property
    def densifies(self) -> bool:
        """Whether ``densify`` makes dense batches on a device, so that only the sparse form is transferred.

        If False, the default, rows are made dense while they are decoded, and batches are passed to ``dense``.
        """
        return False

    @property
    def ahead(self) -> int:
        """Number of batches of a window that are converted before the user requests them, so that they travel ahead.

        Default 0: right on the host, and where the user's work would queue behind these transfers.
        """
        return 0

    def allocate(self, nbytes: int) -> np.ndarray:
        """Return host memory for a window.

        Parameters
        ----------
        nbytes
            Number of bytes.

        Returns
        -------
        numpy.ndarray
            ``(nbytes,)`` uint8, 64-byte aligned, contents undefined. Ordinary memory by default; return
            pinned memory if the framework copies to a device.
        """
        from ._runtime.buffers import allocate_aligned

        return allocate_aligned(nbytes)

    def capacity(self, nnz: int) -> int:
        """Return the padded number of elements (at least ``nnz``) of a sparse batch of ``nnz`` values.

        A framework that compiles per shape rounds up to a few sizes here; the core writes the padding (value 0, column
        ``n_vars``), so it costs no copy.
        """
        return nnz

    @abstractmethod
    def dense(self, array: np.ndarray) -> Any:
        """Return a dense host array (C-contiguous, any dimension and NumPy dtype) as the framework's array."""

    @abstractmethod
    def csr(self, matrix: CSR) -> Any:
        """Return a sparse host batch as the framework's CSR matrix, dtypes kept."""

    def densify(self, matrix: CSR) -> Any:
        """Return a sparse host batch as a dense array of the framework, made on the device if there is one.

        Repeated columns in a row add up in the dtype, as in SciPy. The default makes it on the host and passes it to
        ``dense``: right if the device is the CPU.
        """
        return self.dense(matrix.to_dense())

    @property
    def stages(self) -> bool:
        """Whether windows that become dense are given to ``stage`` whole, instead of batches to ``densify``.

        Default False. It implies ``densifies``.
        """
        return False

    def applies(self, transform: Transform) -> bool:
        """Return whether the callable from ``stage`` applies a transform on the device. Default False: on the host."""
        return False

    def stage(self, window: CompactWindow) -> Callable[[int], Any]:
        """Start moving a window to the device, and return a function that makes dense batches there.

        Called as soon as the window has been read, so that the transfer overlaps the user's work on the previous one.
        The adapter may drop the window once it has been transferred.

        Parameters
        ----------
        window
            In memory from ``allocate``. Its ``transform`` is None or one for which ``applies`` is True.

        Returns
        -------
        callable
            Takes the number of a batch and returns its dense array: ``window.shape(number)``, ``window.dtype``.
            Repeated columns in a row add up, after their values are transformed.

        Raises
        ------
        annbatch.errors.DeviceMemoryError
            If the device has no room for the window.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `stage`, because its `stages` is True.")
