"""Whether a loader divides its epochs among the ranks of a training run, where there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._arguments import flag
from .._warn import warn
from ..samplers._base import samplers_in
from ..samplers._distributed import DistributedSampler
from ..samplers._ranks import known_world_size

if TYPE_CHECKING:
    from ..samplers._base import Sampler


def for_ranks(sampler: Sampler, distributed: bool | None) -> Sampler:
    """Return the sampler, distributed if that was asked for."""
    distributed = None if distributed is None else flag(distributed, "distributed")
    held = _distributed_in(sampler)
    if distributed is False and held is not None:
        raise ValueError("`distributed` must not be False where `batch_sampler` is distributed, got False.")
    return DistributedSampler(sampler) if distributed and held is None else sampler


def divides_epochs(sampler: Sampler) -> bool:
    """Return whether ranks read different rows as they should; warn if each would read all of them.

    Raises
    ------
    RuntimeError
        If the ranks were looked up before processes were joined, and there are others now.
    """
    world_size = known_world_size()
    if world_size == 1:
        return True
    held = _distributed_in(sampler)
    if held is None:
        warn(
            f"Each of the {world_size} ranks reads all rows, in the same order if seeds are the same: "
            "`Loader(distributed=True)`, or a `DistributedSampler` as `batch_sampler`, divides them; "
            "`distributed=False` says that all ranks should read the same, and ends this warning."
        )
        return False
    if held.dist_info == "auto" and held.world_size != world_size:
        raise RuntimeError(
            f"`distributed` found {held.world_size} rank(s) when the loader or sampler was made, and now there are "
            f"{world_size}: make it after the processes are joined (`torch.distributed.init_process_group`, "
            "`jax.distributed.initialize`)."
        )
    return True


def _distributed_in(sampler: Sampler) -> DistributedSampler | None:
    if isinstance(sampler, DistributedSampler):
        return sampler
    held = (_distributed_in(one) for one in samplers_in(sampler).values())
    return next((one for one in held if one is not None), None)
