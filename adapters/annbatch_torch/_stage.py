"""Move whole windows to a device in compact form and make dense batches there, in plain PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ._transfer import room_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from annbatch.batch import CompactWindow
    from annbatch.transforms import NormalizeLog1p

_NOWHERE = 1024
"""Slots behind a batch for the values of dropped columns: with a single slot, all additions to it would queue."""

_HALVES = (torch.bfloat16, torch.float16)


class StagedWindow:
    """A window in transfer to a device.

    Parameters
    ----------
    window
        The window to move.
    receive
        Function that returns its data, indices, indptr and, if there are any, columns, on the device: ready for the
        current stream of the calling thread.
    """

    def __init__(self, window: CompactWindow, receive: Callable[[], Sequence[torch.Tensor]]) -> None:
        self._receive = receive
        self._slices = [(window.elements(i), window.pointers(i), window.shape(i)) for i in range(window.n_batches)]
        self._dtype: torch.dtype = getattr(torch, window.dtype)
        self._transform: NormalizeLog1p | None = window.transform  # type: ignore[assignment]  # the only one that `applies`

    def __call__(self, batch: int) -> torch.Tensor:
        """Return a dense batch on the device."""
        data, indices, indptr, *columns = self._receive()
        elements, pointers, shape = self._slices[batch]
        with room_for("A dense batch", shape[0] * shape[1] * self._dtype.itemsize, data.device):
            return expand(
                data[elements],
                indices[elements],
                indptr[pointers],
                columns[0] if columns else None,
                shape=shape,
                dtype=self._dtype,
                transform=self._transform,
            )


def expand(
    data: torch.Tensor,
    indices: torch.Tensor,
    indptr: torch.Tensor,
    columns: torch.Tensor | None,
    *,
    shape: tuple[int, int],
    dtype: torch.dtype,
    transform: NormalizeLog1p | None,
) -> torch.Tensor:
    """Return rows in compact form as a dense tensor on their device, without waiting for the device.

    Parameters
    ----------
    data, indices
        ``(nnz,)`` values of any real dtype, and column numbers in uint16 or int32.
    indptr
        ``(n_rows + 1,)``, from 0.
    columns
        Target of each stored column, -1 to drop it; None: columns stay in place.
    shape, dtype
        Shape and dtype of the result. Values are added in float32 for halves, else in ``dtype`` (modulo 2**bits for
        integers).
    transform
        Transform of the values in columns that stay, applied before values are added.
    """
    n_rows, n_columns = shape
    device = data.device
    adding = _adding(dtype)
    numbers = torch.arange(n_rows, device=device)
    # Without `output_size` PyTorch would ask the device for it, and wait.
    rows = torch.repeat_interleave(numbers, indptr.diff().long(), output_size=len(data))
    at = _signed(indices).long()
    values = _signed(data).to(adding)
    targets = rows * n_columns + at
    if columns is not None:
        at = columns[at].long()
        slots = n_rows * n_columns + torch.arange(len(data), device=device) % _NOWHERE
        targets = torch.where(at >= 0, rows * n_columns + at, slots)
        values = torch.where(at >= 0, values, torch.zeros((), dtype=adding, device=device))
    if transform is not None:
        # In float64, so that the order of additions on a device does not show in float32.
        totals = torch.zeros(n_rows, dtype=torch.float64, device=device).index_add_(0, rows, values.double())
        scales = torch.where(totals == 0, 1.0, transform.target_sum / totals).to(adding)
        values = torch.log1p(values * scales[rows])
    dense = torch.zeros(n_rows * n_columns + (0 if columns is None else _NOWHERE), dtype=adding, device=device)
    dense = dense.index_add_(0, targets, values)[: n_rows * n_columns].view(n_rows, n_columns)
    if dtype == torch.bool:
        return dense != 0
    return dense.view(dtype) if adding.itemsize == dtype.itemsize and adding != dtype else dense.to(dtype)


def _adding(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype to add in: PyTorch adds no unsigned integers but uint8, and rounds halves at each addition."""
    if dtype in _HALVES:
        return torch.float32
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64, torch.bool: torch.int32}
    return signed.get(dtype, dtype)


def _signed(tensor: torch.Tensor) -> torch.Tensor:
    """Return unsigned integers in a wider, signed dtype, which every operation of PyTorch supports."""
    if tensor.dtype == torch.uint16:
        return tensor.view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    if tensor.dtype == torch.uint32:
        return tensor.view(torch.int32).to(torch.int64).bitwise_and_(0xFFFF_FFFF)
    return tensor.view(torch.int64) if tensor.dtype == torch.uint64 else tensor
