"""The sampler of a loader, with the columns of ``obs`` that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..samplers._base import Sampler
    from .datasets import Datasets


class BoundSampler:
    """Lends samplers the columns of a loader's data; looked up once per sampler, its mask, and number of datasets."""

    def __init__(self) -> None:
        self._last: tuple[tuple[object, ...], Sampler] | None = None

    def of(self, sampler: Sampler, datasets: Datasets) -> Sampler:
        """Return the sampler itself, or a copy of it with the columns that it needs, once there are datasets."""
        names = list(dict.fromkeys(sampler.obs_columns())) if datasets.count else []
        if not names:
            return sampler
        of = sampler, sampler.mask, sampler.rng, datasets.count  # a user may replace a mask at any time
        if self._last is None or any(one is not other for one, other in zip(self._last[0], of, strict=True)):
            self._last = of, sampler.with_obs(datasets.obs_columns(names))
        return self._last[1]
