"""One epoch shared by many processes."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from .._arguments import check_choice, flag
from .._plan.position import BatchRanges, Position, cut, parts, remaining
from .._warn import warn
from ._base import Sampler
from ._chunk import ChunkSampler
from ._filling import filled_up
from ._ranks import find_rank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..types import LoadRequest
    from ._ranks import DistInfo
    from ._row_set import RowSet

_SEED = 0  # of samplers without a seed: ranks must agree
_MOST_RANKS = 1 << 20  # that may begin an epoch, so that no number in a state takes memory


class DistributedSampler(Sampler):
    """Divides the batches of each epoch among the processes (ranks) of a training run.

    All ranks compute the same order, and each takes a contiguous part of its batches: different chunks in every epoch,
    and each row on one rank only. All ranks have the same number of batches of the same size.

    The sampler must be the same on every rank: **give it the same seed everywhere**. One without a seed gets the same
    seed on all ranks. The rest of an epoch can be taken over by another number of ranks; see
    :meth:`annbatch.Loader.state_dict`.

    Parameters
    ----------
    sampler
        Sampler whose batches are shared; it is copied. A ``num_samples`` that it was given is that of each rank.
    dist_info
        Source of rank and number of ranks: ``"torch"`` (``torch.distributed``, initialized), ``"jax"``
        (``jax.distributed``, initialized), ``"env"`` (the variables that torchrun, SLURM or MPI set), or a callable
        that returns both. ``"auto"`` takes the first of these three that tells, and one rank if none does, so that one
        program runs on a laptop and on a cluster. Join the processes before the sampler is made.
    enforce_equal_batches
        Whether all ranks have the same number of batches of the same size; only the last batch of an epoch is taken to
        be shorter. If not, every batch is yielded unchanged, and some ranks have one more than others: at the end of an
        epoch their states differ, and that of a rank with the most is the one to save.
    remainder
        Treatment of rows that are too few for one more batch on each rank. ``"drop"``: they are left out, fewer than
        ``batch_size * world_size``, and different rows in every epoch; a sampler of your own tells by
        ``has_short_batch`` whether its last batch is short, or a warning is given. ``"wrap"``: they are filled up with
        batches from the beginning of the epoch, and the last batch with rows from there. ``"pad"``: a rank that lacks a
        batch repeats its last one, and a short batch its last row, so that ``index`` tells the copies.

    Raises
    ------
    RuntimeError
        If ``dist_info`` gives no rank: the framework is not initialized, or no variables are set.
    TypeError
        If ``sampler`` is not a Sampler, or is a DistributedSampler.
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch.samplers import DistributedSampler, RandomSampler
    >>> def rows_of(rank):
    ...     sampler = RandomSampler(2, 4, 4, rng=np.random.default_rng(0))
    ...     sampler = DistributedSampler(sampler, dist_info=lambda: (rank, 2))
    ...     return {
    ...         row
    ...         for request in sampler.sample(16)
    ...         for part in request["requests"]
    ...         for row in range(16)[part]
    ...     }
    >>> sorted(rows_of(0) | rows_of(1)) == list(range(16)), rows_of(0) & rows_of(1)
    (True, set())
    """

    _is_distributed = True

    def __init__(
        self,
        sampler: Sampler,
        *,
        dist_info: DistInfo = "auto",
        enforce_equal_batches: bool = True,
        remainder: Literal["drop", "pad", "wrap"] = "drop",
    ) -> None:
        if not isinstance(sampler, Sampler) or isinstance(sampler, DistributedSampler):
            raise TypeError(
                f"`sampler` must be a Sampler that is not distributed already, got {type(sampler).__name__}."
            )
        check_choice("remainder", remainder, ("drop", "pad", "wrap"))
        enforce_equal_batches = flag(enforce_equal_batches, "enforce_equal_batches")
        if remainder != "drop" and not enforce_equal_batches:
            raise ValueError(f"`remainder` must be left out where enforce_equal_batches is False, got {remainder!r}.")
        self._rank, self.n_ranks_of_epoch = find_rank(dist_info)
        self.dist_info = dist_info if isinstance(dist_info, str) else None  # no callable: it need not be picklable
        self._remainder = remainder if enforce_equal_batches else "uneven"
        sampler.order_seed()  # before it is copied, so that all copies share the seed
        self._sampler = copy(sampler)
        self.order_seed_is_given = sampler.order_seed_is_given
        if not self.order_seed_is_given:
            self._sampler.take_order_seed(_SEED)

    def __copy__(self) -> DistributedSampler:
        made = object.__new__(type(self))
        vars(made).update(vars(self), _sampler=copy(self._sampler))
        return made

    @property
    def rank(self) -> int:
        """Number of this rank."""
        return self._rank

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.n_ranks_of_epoch

    @property
    def batch_size(self) -> int | None:
        """Rows per batch."""
        return self._sampler.batch_size

    @property
    def shuffle(self) -> bool | None:
        """Whether rows are shuffled."""
        return self._sampler.shuffle

    @property
    def mask(self) -> slice | RowSet:
        """Rows that all ranks sample from."""
        return self._sampler.mask

    @mask.setter
    def mask(self, value: slice | RowSet) -> None:
        self._sampler.mask = value

    @property
    def rng(self) -> np.random.Generator | None:
        """Generator of the distributed sampler."""
        return self._sampler.rng

    @rng.setter
    def rng(self, value: np.random.Generator | None) -> None:
        self._sampler.rng = value
        self.order_seed_is_given = value is not None

    def __getattr__(self, name: str) -> Any:
        """Return what loaders show of the distributed sampler where it draws sets."""
        if name not in ("drawn_groups", "groups", "sets_per_batch"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(vars(self)["_sampler"], name)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``sample`` yields."""
        super().set_epoch(epoch)
        self._sampler.set_epoch(epoch)

    def n_batches(self, n_obs: int) -> int:
        """Return the number of batches that this rank yields of one epoch."""
        return sum(map(len, self._batches_of_rank(n_obs, Position(self.epoch))))

    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if the sampler refuses ``n_obs`` rows, or they are too few for a batch on each rank."""
        at = self._of_position(Position(self.epoch))
        at._sampler.validate(n_obs)
        n_batches = at._n_assigned(n_obs)
        if self._remainder == "drop" and n_batches < self.n_ranks_of_epoch:
            raise ValueError(
                f"`n_obs` must make a batch for each of the {self.n_ranks_of_epoch} ranks, got {n_batches} whole "
                f"batches of {n_obs} rows; remainder='wrap' or 'pad' fills up."
            )

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers of the same batches; the number of ranks may differ."""
        return self._sampler.identity() | {"remainder": self._remainder}

    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        raise NotImplementedError  # `requests_between` asks the distributed sampler

    def n_batches_of_epoch(self, n_obs: int) -> int:  # the same for any number of ranks, since states hold it
        return self._sampler.n_batches_of_epoch(n_obs)

    def order_seed(self) -> int:
        return self._sampler.order_seed()

    def take_order_seed(self, seed: int) -> None:
        self._sampler.take_order_seed(seed)

    def _n_assigned(self, n_obs: int) -> int:
        """Return the number of assigned batches, without a short one if all must be equal and none is padded."""
        whole_only = self._remainder == "drop" and self._sampler.has_short_batch(n_obs)
        return self._sampler.n_batches(n_obs) - whole_only

    def _of_position(self, position: Position) -> Self:
        # Each rank takes `num_samples`, and a rest is shared among others: an epoch is that of the ranks that began it.
        ranks = position.assigned[0][0] if position.assigned else self.n_ranks_of_epoch
        made = copy(self)
        made._sampler = self._sampler.for_ranks(min(ranks, _MOST_RANKS))
        return made

    def _batches_of_rank(self, n_obs: int, position: Position) -> BatchRanges:
        n_batches = self._of_position(position)._n_assigned(n_obs)
        left = [range(n_batches)]
        for ranks, steps in position.assigned:
            few = min(ranks, 1 + sum(map(len, left)))  # any further ranks took none, however many a state claims
            left = remaining(left, steps, self._parts(left, few, position.epoch))
        return self._assigned(left, position.epoch, n_batches)

    def _parts(self, batches: BatchRanges, n_ranks: int, epoch: int) -> list[tuple[int, int]]:
        # In odd epochs the remainder is left out at the other end: in a fixed order it would always be the same rows.
        equal = self._remainder == "drop"
        return parts(sum(map(len, batches)), n_ranks, equal=equal, from_end=bool(epoch % 2))

    def _assigned(self, batches: BatchRanges, epoch: int, n_batches: int) -> BatchRanges:
        """Return this rank's share, filled up to the largest share if requested."""
        of_ranks = self._parts(batches, self.n_ranks_of_epoch, epoch)
        share = cut(batches, *of_ranks[self._rank])
        largest = max(stop - start for start, stop in of_ranks)
        if sum(map(len, share)) == largest or self._remainder not in ("wrap", "pad"):
            return share
        if self._remainder == "wrap":  # the ranks that lack one are the last, and begin the epoch again together
            filler = (self._rank - sum(map(len, batches)) % self.n_ranks_of_epoch) % n_batches
        else:
            filler = share[-1][-1] if share else batches[-1][-1]
        return [*share, range(filler, filler + 1)]

    def requests_between(self, n_obs: int, epoch: int, batches: range) -> Iterator[LoadRequest]:
        sampler = self._of_epoch(n_obs, epoch)
        for request in sampler.requests_between(n_obs, epoch, batches):
            self._warn_of_a_short_batch(request, sampler.batch_size)
            yield self._filled_up(request, sampler, n_obs, epoch)

    def _of_epoch(self, n_obs: int, epoch: int) -> Sampler:
        """Return the sampler of an epoch; in odd ones a sequential sampler starts late, so that its last rows come."""
        sampler = self._sampler
        if self._remainder == "drop" and epoch % 2 and isinstance(sampler, ChunkSampler) and not sampler.shuffle:
            return sampler.starting_late(n_obs)
        return sampler

    def _warn_of_a_short_batch(self, request: LoadRequest, size: int | None) -> None:
        """Warn of a batch that would have been dropped, had the sampler told that it is short."""
        rows = len(request["splits"][-1])
        if self._remainder == "drop" and size is not None and rows < size:
            warn(
                f"A batch of {rows} rows instead of {size} is yielded although remainder='drop': "
                f"`has_short_batch(n_obs)` of {type(self._sampler).__name__} must return whether the last batch of an "
                "epoch is short; remainder='pad' or 'wrap' fills it up.",
            )

    def _filled_up(self, request: LoadRequest, sampler: Sampler, n_obs: int, epoch: int) -> LoadRequest:
        """Return the request with a short batch filled up, where all must be equal."""
        size = sampler.batch_size
        if self._remainder not in ("wrap", "pad") or size is None or len(request["splits"][-1]) >= size:
            return request
        first = next(iter(sampler.requests_between(n_obs, epoch, range(1)))) if self._remainder == "wrap" else None
        return filled_up(request, size, rows_per_set=sampler.rows_per_set, first=first)
