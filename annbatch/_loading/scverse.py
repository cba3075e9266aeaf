"""What programs for scverse annbatch use beyond its documentation, scvi-tools above all: a compatibility shim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._arguments import wrong_kind
from .._warn import warn
from ..samplers._base import Sampler

if TYPE_CHECKING:
    from types import GenericAlias

    import pandas as pd

    from ..abc import Adapter
    from .datasets import Datasets
    from .progress import Progress


class ScverseNames:
    """Names of scverse annbatch's ``Loader`` that programs read or set, though they are private."""

    _datasets: Datasets
    _progress: Progress

    if TYPE_CHECKING:

        def _warn_of_range(self, sampler: Sampler) -> None: ...

    def __class_getitem__(cls, types: Any) -> GenericAlias:
        """Return the class for annotations such as ``Loader[zarr.Array, np.ndarray]``."""
        from types import GenericAlias

        return GenericAlias(cls, types)

    @property
    def _obs(self) -> list[pd.DataFrame] | None:
        """The whole ``obs`` of each dataset, as batches have it, or None: read when it is first asked for."""
        return self._datasets.obs_frames()

    @property
    def _batch_sampler(self) -> Sampler:
        """The sampler. One that replaces it begins the next epoch."""
        sampler: Sampler = vars(self)["_batch_sampler"]
        return sampler

    @_batch_sampler.setter
    def _batch_sampler(self, sampler: Sampler) -> None:
        if not isinstance(sampler, Sampler):
            raise wrong_kind("batch_sampler", "an annbatch.abc.Sampler", sampler, {})
        sampler.order_seed()  # drawn once, here: the copies in workers of a DataLoader must agree
        vars(self)["_batch_sampler"] = sampler
        self._progress.begin_anew()
        self._warn_of_range(sampler)


def framework_of(to: str | Adapter | None, to_torch: bool | None) -> str | Adapter | None:
    """Return ``to``, from ``to_torch`` where a program uses that."""
    if to_torch is None:
        return to
    if not isinstance(to_torch, bool):
        raise wrong_kind("to_torch", "a bool", to_torch, {})
    if to is not None and not (to == "torch" and to_torch):
        raise ValueError(f"`to_torch` must be left out where `to` is given, got to_torch={to_torch} and to={to!r}.")
    warn("`to_torch` is deprecated: use `to='torch'`, or leave it out.", DeprecationWarning)
    return "torch" if to_torch else None
