"""The sampler of a loader, with the columns of ``obs`` that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..samplers._base import Sampler
    from .datasets import Datasets


class BoundSampler:
    """Lends samplers the columns of a loader's data; looked up once per sampler and number of datasets."""

    def __init__(self) -> None:
        self._last: tuple[Sampler, int, Sampler] | None = None

    def of(self, sampler: Sampler, datasets: Datasets) -> Sampler:
        """Return the sampler itself, or a copy of it with the columns that it needs, once there are datasets."""
        if not datasets.count:
            return sampler
        if self._last is None or self._last[0] is not sampler or self._last[1] != datasets.count:
            names = list(dict.fromkeys(sampler.obs_columns()))
            bound = sampler.with_obs(datasets.obs_columns(names)) if names else sampler
            self._last = sampler, datasets.count, bound
        return self._last[2]
