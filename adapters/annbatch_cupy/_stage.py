"""Move whole windows to a device in compact form and make dense batches there, by one kernel."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cupy
import numpy as np

from ._expand import SUMS
from ._kernel import THREADS, source
from ._transfer import room_for

if TYPE_CHECKING:
    from annbatch.batch import CompactWindow

    from ._transfer import Sent

_RESULTS = {name: adding for name, adding in SUMS.items() if name != "float16"}
"""The dtype that the kernel writes; float16 is kept, because hardly any element is added to twice."""


class StagedWindow:
    """A window in transfer to a device.

    Parameters
    ----------
    window
        The window to move.
    sent
        Its data, indices, indptr and, if there are any, columns.
    device
        Number of the device.
    """

    def __init__(self, window: CompactWindow, sent: Sent, device: int) -> None:
        self._sent = sent
        self._device = device
        self._slices = [(window.elements(i), window.pointers(i), window.shape(i)) for i in range(window.n_batches)]
        self._dtype = np.dtype(window.dtype)
        self._target_sum = 0.0 if window.transform is None else window.transform.target_sum  # type: ignore[attr-defined]

    def __call__(self, batch: int) -> Any:
        """Return a dense batch on the device."""
        elements, pointers, shape = self._slices[batch]
        nbytes = shape[0] * shape[1] * self._dtype.itemsize
        on, room = cupy.cuda.Device(self._device), room_for("A dense batch", nbytes, f"CUDA device {self._device}")
        with on, room, self._sent.reading() as (data, indices, indptr, *columns):
            dense = cupy.empty(shape, _RESULTS.get(self._dtype.name, self._dtype))
            if dense.size:
                kernel = _kernel(data.dtype.name, indices.dtype.name, indptr.dtype.name, dense.dtype.name)
                parts = data[elements], indices[elements], indptr[pointers], columns[0] if columns else np.intp(0)
                arguments = (*parts, np.int32(shape[1]), np.float64(self._target_sum), dense)
                kernel((shape[0],), (THREADS,), arguments)
            return dense != 0 if self._dtype.kind == "b" else dense.astype(self._dtype, copy=False)


@lru_cache(maxsize=64)
def _kernel(value: str, index: str, pointer: str, result: str) -> Any:
    return cupy.RawKernel(source(value, index, pointer, result), "expand_rows")
