"""How matrices reach their batches, decided once per loader: dtype, sparse or dense, and where they become dense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .._arguments import flag, in_words
from ..batch import CSR

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc import Adapter
    from ..transforms import Transform

HALVES = ("bfloat16", "float16")
"""Dtypes that devices make and the host does not: NumPy has no bfloat16, numba no float16."""


@dataclass(frozen=True, slots=True)
class MatrixForm:
    """The form of X and layers in batches.

    Attributes
    ----------
    adapter
        Converts arrays; None: they stay NumPy arrays and SciPy matrices.
    dtype
        Dtype that the host computes with; None: that of the data.
    dense
        Where sparse data becomes dense. ``"no"``: nowhere. ``"host"``: rows are written dense as they are decoded.
        ``"batch"``: the adapter densifies each batch on its device. ``"window"``: whole windows travel to the device in
        compact form, and the adapter makes dense batches of them there.
    half
        Name of the dtype of batches where the host lacks it and computes with float32 instead; else None.
    transform
        Changes the values; None: nothing does.
    """

    adapter: Adapter | None = None
    dtype: np.dtype | None = None
    dense: Literal["no", "host", "batch", "window"] = "no"
    half: str | None = None
    transform: Transform | None = None

    @staticmethod
    def of(adapter: Adapter | None, *, dtype: Any, densify: bool, transform: Transform | None) -> MatrixForm:
        """Return the form that the arguments of a loader ask for.

        Raises
        ------
        ValueError
            If ``dtype`` is bfloat16 and no device makes batches.
        """
        if not flag(densify, "densify"):
            dense: Literal["no", "host", "batch", "window"] = "no"
        elif adapter is None or not adapter.densifies:
            dense = "host"
        else:
            dense = "window" if adapter.stages else "batch"
        name = getattr(dtype, "__name__", str(dtype).removeprefix("torch."))
        if name == "bfloat16" and dense != "window":
            raise ValueError(
                "`dtype` must be one that NumPy has, got bfloat16: an adapter makes it on a device, with "
                "`densify=True`; on the CPU, too, if it was made with `stages=True`."
            )
        if name != "bfloat16" and dtype is not None:
            dtype = _numbers(dtype)
            name = dtype.name
        half = name if dense == "window" and name in HALVES else None
        return MatrixForm(adapter, np.dtype(np.float32) if half else dtype, dense, half, transform)

    def as_stored(self) -> MatrixForm:
        """Return the form of elements other than X and layers: the adapter's arrays, otherwise as they are stored."""
        return MatrixForm(self.adapter)

    @property
    def capacity(self) -> Callable[[int], int] | None:
        """Elements to reserve for a sparse batch of a given number of non-zeros; None: just those."""
        return None if self.adapter is None else self.adapter.capacity

    def convert(self, value: Any) -> Any:
        """Return an element of a batch as the user gets it."""
        adapter = self.adapter
        if isinstance(value, CSR):
            if adapter is None:
                return value.to_scipy() if self.dense == "no" else value.to_dense()
            return adapter.csr(value) if self.dense == "no" else adapter.densify(value)
        if adapter is None or not isinstance(value, np.ndarray):  # the adapter made it, of a whole window
            return value
        return adapter.dense(value)


def _numbers(dtype: Any) -> np.dtype:
    try:
        found: np.dtype = np.dtype(dtype)
    except (TypeError, ValueError):
        found = np.dtype(object)
    if found.kind not in "biufc":
        raise TypeError(f"`dtype` must be a dtype of numbers, got {in_words(dtype)}.")
    return found
