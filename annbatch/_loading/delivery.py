"""From a window that was read to the user's batches: converted by the adapter, dense if asked, obs as it was asked."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._anndata.keys import has_var_axis, path_of
from .._elements.csr import CsrElement
from .._elements.staged import HALVES, Staging
from ..batch import CSR

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .._anndata.table import ObsTable, ObsWindow
    from .._elements.element import Element
    from .._plan.window_rows import DatasetRows
    from ..abc import Adapter
    from ..types import LoaderOutput
    from .window import LoadedWindow

OBS_AS = ("dataframe", "arrays")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What batches are made into.

    Attributes
    ----------
    adapter
        Converts arrays; None: they stay NumPy arrays and SciPy matrices.
    densify
        Whether sparse X and layers become dense.
    obs_as
        ``"dataframe"`` or ``"arrays"``.
    return_index
        Whether batches carry their global row numbers.
    """

    adapter: Adapter | None
    densify: bool
    obs_as: str
    return_index: bool

    def __post_init__(self) -> None:
        if self.obs_as not in OBS_AS:
            raise ValueError(f"`obs_as` must be 'dataframe' or 'arrays', got {self.obs_as!r}.")

    @property
    def densifies_on_host(self) -> bool:
        """Whether batches are to be written dense as they are decoded."""
        return self.densify and not (self.adapter is not None and self.adapter.densifies)

    def staging(self, dtype: Any) -> tuple[np.dtype | None, Staging | None]:
        """Return the dtype that the host computes with, and how a device makes batches, where one does.

        Parameters
        ----------
        dtype
            As ``Loader`` takes it.

        Raises
        ------
        ValueError
            If it is bfloat16 and no device makes batches.
        """
        name = getattr(dtype, "__name__", str(dtype).removeprefix("torch."))
        half = name if name == "bfloat16" else None
        if self.adapter is None or not self.densify or not self.adapter.stages:
            if half is not None:
                raise ValueError(
                    "`dtype` must be one that NumPy has, got bfloat16: an adapter makes it on a device, with "
                    "`densify=True`; on the CPU too if it was told to (`TorchAdapter(stages=True)`)."
                )
            return None if dtype is None else np.dtype(dtype), None
        if half is None and dtype is not None and np.dtype(dtype).name in HALVES:
            half = np.dtype(dtype).name
        host = np.dtype(np.float32) if half is not None else None if dtype is None else np.dtype(dtype)
        return host, Staging(self.adapter, half)

    def check(self, element: Element) -> None:
        """Raise ``ValueError`` if such an element cannot be handed over."""
        if (
            isinstance(element, CsrElement)
            and element.dtype == np.float16
            and self.adapter is None
            and not self.densify
        ):
            raise ValueError(
                "`dtype` must not be float16 for SciPy matrices, which have no such dtype: ask for float32."
            )

    def gather(self, table: ObsTable, shares: list[DatasetRows], n_rows: int) -> ObsWindow:
        """Gather the annotations of a window's rows, in the form in which they will be handed over."""
        return table.frame(shares, n_rows) if self.obs_as == "dataframe" else table.arrays(shares, n_rows)

    def batches(self, window: LoadedWindow, annotations: VarTables) -> Iterator[LoaderOutput]:
        """Yield the batches of a window, some of them converted ahead where the adapter wants that."""
        made: deque[LoaderOutput] = deque()
        for number in range(window.rows.n_batches):
            made.append(self.batch(window, number, annotations))
            if len(made) > self._ahead:
                yield made.popleft()
        while made:  # a popped batch is the user's alone: its memory comes back when they drop it
            yield made.popleft()

    @property
    def _ahead(self) -> int:
        return 0 if self.adapter is None else self.adapter.ahead

    def batch(self, window: LoadedWindow, number: int, annotations: VarTables) -> LoaderOutput:
        """Return a batch of a window as the user gets it: elements in dicts as deep as their keys."""
        start, stop = int(window.rows.edges[number]), int(window.rows.edges[number + 1])
        batch: dict[str, Any] = {}
        for key in window.elements:
            is_x = has_var_axis(key)
            _put(batch, key, self._convert(window.element(key, number), densify=self.densify and is_x))
        for key in window.frames:
            _put(batch, key, self._convert_obs(window.frame(key, start, stop)))
        batch.setdefault("obs", None)
        # A dict of arrays is a pytree, which jitted functions take; a DataFrame in it would be none of their types.
        as_frames = self.obs_as == "dataframe"
        for prefix, var in annotations.modalities.items():
            _put(batch, f"{prefix}var", var if as_frames else None)
        batch["var"] = annotations.var if as_frames else None
        batch["index"] = window.rows.rows[start:stop] if self.return_index else None
        return batch  # type: ignore[return-value]  # which elements there are is up to `keys`

    def _convert(self, value: Any, *, densify: bool) -> Any:
        adapter = self.adapter
        if not isinstance(value, CSR):
            if adapter is None or not isinstance(value, np.ndarray):  # which the adapter made, of a whole window
                return value
            return adapter.dense(value)
        if adapter is None:
            return value.to_dense() if densify else value.to_scipy()
        return adapter.densify(value) if densify else adapter.csr(value)

    def _convert_obs(self, obs: Any) -> Any:
        if self.adapter is None or isinstance(obs, pd.DataFrame):
            return obs
        return {name: self.adapter.dense(a) if a.dtype.kind in "biuf" else a for name, a in obs.items()}


@dataclass(frozen=True, slots=True)
class VarTables:
    """What every batch says of its columns.

    Attributes
    ----------
    var
        Of X and layers; None where there is none.
    modalities
        The same by the beginning of a modality's keys.
    """

    var: pd.DataFrame | None
    modalities: Mapping[str, pd.DataFrame | None]


def _put(batch: dict[str, Any], key: str, value: Any) -> None:
    *outer, name = path_of(key)
    for place in outer:
        batch = batch.setdefault(place, {})
    batch[name] = value
