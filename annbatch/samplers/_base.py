"""The base class of all samplers; below it, one pass: a copy of a sampler whose randomness seed and epoch decide.

Open passes do not disturb each other, and an abandoned one leaves nothing behind.
"""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._plan.position import Position, cut, parts
from .._plan.ranges import split_every
from .._plan.window_rows import n_requested
from ._row_set import mask_text
from ._seeding import ATTRIBUTES, SAMPLERS, WINDOWS, keyed_rng

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from .._plan.position import BatchRanges
    from ..types import LoadRequest
    from ._row_set import RowSet


class Sampler(ABC):
    """The order of rows: which are read together, and how they split into batches.

    Subclasses supply ``batch_size``, ``shuffle``, ``n_batches``, ``validate`` and ``_sample``. Requests may be made
    on another thread, ahead of the batches that the user has seen, and are made again (without reading) to resume.
    Randomness comes from NumPy alone: ``torch.manual_seed`` has no effect.

    **The order is a function of seed and epoch.** The seed is one integer, drawn from ``rng``, or from all NumPy
    generators that the sampler holds as attributes, or in lists, tuples or dicts that are attributes. Each pass runs on
    a copy of the sampler whose generators are replaced by new ones, made from seed and epoch; samplers that it holds
    are set to the same epoch. A subclass that draws from these generators alone can therefore be resumed, and its order
    does not depend on how much of earlier epochs was read. Attributes that ``_sample`` assigns are lost after the pass;
    ``self.epoch`` is the number of the epoch.

    Examples
    --------
    A sampler that reads the rows backwards, 100 at a time:

    >>> from annbatch.abc import Sampler
    >>> class Backwards(Sampler):
    ...     batch_size = 100
    ...     shuffle = False
    ...
    ...     def n_batches(self, n_obs):
    ...         return -(-n_obs // 100)
    ...
    ...     def validate(self, n_obs):
    ...         pass
    ...
    ...     def _sample(self, n_obs):
    ...         for stop in range(n_obs, 0, -100):
    ...             yield {"requests": [slice(max(0, stop - 100), stop)]}
    >>> [request["requests"] for request in Backwards().sample(250)]
    [[slice(150, 250, None)], [slice(50, 150, None)], [slice(0, 50, None)]]
    """

    # Subclasses may set `_mask`, `_rng` and `_epoch` themselves: they mean the same there.
    _mask: slice | RowSet = slice(0, None)
    _rng: np.random.Generator | None = None
    _epoch: int = 0
    _order_seed: tuple[int, np.random.Generator | None] | None = None  # and the `_rng` that it was drawn from
    _is_distributed: bool = False  # whether `_batches_of_rank` returns one of several shares

    # What a subclass supplies -----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def batch_size(self) -> int | None:
        """Rows per batch; may be None where ``_sample`` gives ``splits`` itself."""

    @property
    @abstractmethod
    def shuffle(self) -> bool | None:
        """Whether rows are shuffled within a window where ``_sample`` gives no ``splits``."""

    @abstractmethod
    def n_batches(self, n_obs: int) -> int:
        """Return the number of batches of one epoch over ``n_obs`` rows."""

    @abstractmethod
    def validate(self, n_obs: int) -> None:
        """Raise ``ValueError`` if this sampler cannot sample from ``n_obs`` rows."""

    @abstractmethod
    def _sample(self, n_obs: int) -> Iterator[LoadRequest]:
        """Yield the requests of one epoch; ``splits`` may be left out."""

    def identity(self) -> dict[str, Any]:
        """Return a description that is equal for two samplers if they make the same batches.

        Returns
        -------
        dict
            JSON-able and small. The state of a loader contains it, so that another sampler is refused with an error
            that names the difference. Subclasses add their own sizes and settings:
            ``super().identity() | {"window": self.window}``.
        """
        seed, inner = self.order_seed(), samplers_in(self)
        described: dict[str, Any] = {
            "name": type(self).__name__,
            "batch_size": _plain(self.batch_size, int),
            "shuffle": _plain(self.shuffle, bool),
            "mask": mask_text(self.mask),
        }
        if self.order_seed_is_given or self.shuffle or inner:
            described["seed"] = seed
        if inner:  # without their seeds, from which this sampler's seed is made
            identities = {name: sampler.identity().items() for name, sampler in inner.items()}
            described["samplers"] = {name: {k: v for k, v in one if k != "seed"} for name, one in identities.items()}
        return described

    def obs_columns(self) -> list[str]:
        """Return the names of columns of ``obs`` that this sampler needs, and those that it holds; default, none."""
        return [name for inner in samplers_in(self).values() for name in inner.obs_columns()]

    def with_obs(self, obs: pd.DataFrame) -> Self:
        """Return a sampler of the rows of ``obs``, which has the columns that ``obs_columns`` names."""
        lent = {id(inner): inner.with_obs(obs) for inner in samplers_in(self).values() if inner.obs_columns()}
        if not lent:
            return self
        made = copy(self)
        for name, value in _attributes(self):
            if (replaced := _replaced(value, lent)) is not value:
                vars(made)[name] = replaced
        return made

    # What every sampler has -------------------------------------------------------------------------------------------

    @property
    def mask(self) -> slice | RowSet:
        """Rows to sample from."""
        return self._mask

    @mask.setter
    def mask(self, value: slice | RowSet) -> None:
        self._mask = value

    @property
    def rng(self) -> np.random.Generator | None:
        """Generator that the sampler was given or made; within ``_sample``, the generator of the epoch."""
        return self._rng

    @rng.setter
    def rng(self, value: np.random.Generator | None) -> None:
        self._rng, self._order_seed = value, None

    @property
    def epoch(self) -> int:
        """Number of the epoch that the next ``sample`` yields."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``sample`` yields; the loader calls this before each iteration."""
        self._epoch = epoch

    def sample(
        self, n_obs: int, *, position: Position | None = None, worker: tuple[int, int] = (0, 1)
    ) -> Iterator[LoadRequest]:
        """Yield the requests of one epoch, each with ``splits``. Not to be overridden.

        Parameters
        ----------
        n_obs
            Number of rows to sample from.
        position
            Batch to start from; default, the first one of the epoch. Earlier batches are not yielded.
        worker
            Number of this worker, and number of workers: each yields a part of the batches.

        Yields
        ------
        LoadRequest
            Request with ``splits``, made from ``batch_size`` and ``shuffle`` where ``_sample`` gave none.

        Raises
        ------
        ValueError
            If ``validate`` refuses ``n_obs``, or a request without ``splits`` comes from a sampler whose
            ``batch_size`` or ``shuffle`` is None.
        """
        self.validate(n_obs)
        # Fixed for the whole pass, even if `set_epoch` is called meanwhile, or is overridden and does not set `epoch`.
        position = Position(self.epoch) if position is None else position
        stretches = self._batches_remaining(n_obs, position, worker)
        if not self._is_distributed and worker[1] == 1:  # no need to trust that `n_batches` is right
            stretches = [range(position.steps + sum(steps for _, steps in position.assigned), sys.maxsize)]
        for stretch in stretches:
            yield from self._of_position(position).requests_between(n_obs, position.epoch, stretch)

    # What the loader calls, and samplers around this one: names that a subclass is unlikely to use otherwise ----------

    n_ranks_of_epoch: int = 1
    """Number of ranks that share an epoch."""

    rows_per_set: int = 1
    """Consecutive rows of a batch that belong together, so that a short batch is filled up with whole sets."""

    order_seed_is_given: bool = False
    """Whether ``order_seed`` comes from the user's generators, not from the system."""

    def order_seed(self) -> int:
        """Return the integer that, with the epoch, decides the order: drawn once, and again if ``rng`` is replaced."""
        if self._order_seed is None or self._order_seed[1] is not self._rng:
            seed, self.order_seed_is_given = seed_of(self)
            self._order_seed = seed, self._rng
        return self._order_seed[0]

    def take_order_seed(self, seed: int) -> None:
        """Use the seed of a state or of other ranks; for samplers whose seed was not given."""
        self._order_seed = seed, self._rng

    def n_batches_of_epoch(self, n_obs: int) -> int:
        """Return the number of batches of an epoch, on all ranks together."""
        return self.n_batches(n_obs)

    def for_ranks(self, n_ranks: int) -> Self:
        """Return a sampler of an epoch that ranks share: a number of samples that was given is that of one rank."""
        return self

    def n_remaining_batches(self, n_obs: int, *, position: Position, worker: tuple[int, int] = (0, 1)) -> int:
        """Return the number of batches that ``sample`` yields from a position on."""
        return sum(map(len, self._batches_remaining(n_obs, position, worker)))

    def has_short_batch(self, n_obs: int) -> bool:
        """Return whether the last batch of an epoch is known to have fewer rows than the others."""
        return False

    def requests_between(self, n_obs: int, epoch: int, batches: range) -> Iterator[LoadRequest]:
        """Yield the requests of consecutive batches of an epoch."""
        window, batch, requests = self._requests_from(n_obs, epoch, batches.start)
        try:
            for number, request in enumerate(requests, window):
                if batch >= batches.stop:
                    break
                if "splits" not in request:
                    request = {**request, "splits": self._default_splits(request, epoch, number)}
                n_batches = len(request["splits"])
                start, stop = max(0, batches.start - batch), min(n_batches, batches.stop - batch)
                batch += n_batches
                if start < stop:
                    yield request if stop - start == n_batches else _of_batches(request, start, stop)
        finally:
            close = getattr(requests, "close", None)  # an abandoned epoch ends in the sampler's own finally
            if close is not None:
                close()

    # Steps of `sample` ------------------------------------------------------------------------------------------------

    def _of_position(self, position: Position) -> Self:
        """Return the sampler that makes the requests of an epoch, wherever it began."""
        return self

    def _batches_remaining(self, n_obs: int, position: Position, worker: tuple[int, int]) -> BatchRanges:
        share = self._batches_of_rank(n_obs, position)
        if worker[1] > 1:
            share = cut(share, *parts(sum(map(len, share)), worker[1], equal=False)[worker[0]])
        return cut(share, position.steps, sys.maxsize)

    def _batches_of_rank(self, n_obs: int, position: Position) -> BatchRanges:
        """Return the batches for this rank, including those that it has taken."""
        return [range(sum(steps for _, steps in position.assigned), self.n_batches(n_obs))]

    def _requests_from(self, n_obs: int, epoch: int, batch: int) -> tuple[int, int, Iterator[LoadRequest]]:
        """Return a request's number, its first batch, at or before ``batch``, and the requests from this one on.

        By default, requests are made from the start of the epoch.
        """
        return 0, 0, pass_of(self, epoch, self.order_seed())._sample(n_obs)

    def _default_splits(self, request: LoadRequest, epoch: int, position: int) -> list[np.ndarray]:
        batch_size, shuffle = self.batch_size, self.shuffle
        if batch_size is None or shuffle is None:
            name = "batch_size" if batch_size is None else "shuffle"
            raise ValueError(f"`{name}` of {type(self).__name__} must be set where a request has no splits, got None.")
        n_rows = n_requested(request["requests"])
        if not shuffle:
            return split_every(np.arange(n_rows), batch_size)
        order = keyed_rng(self.order_seed(), epoch, WINDOWS, position).permutation(n_rows)
        return split_every(order, batch_size)


def _of_batches(request: LoadRequest, start: int, stop: int) -> LoadRequest:
    """Return a request of the batches ``start:stop`` alone."""
    made: LoadRequest = {**request, "splits": request["splits"][start:stop]}
    for kind in ("partners", "extras"):
        if kind in request:
            made[kind] = {name: arrays[start:stop] for name, arrays in request[kind].items()}
    return made


def _plain(value: Any, kind: type) -> Any:
    """Return a NumPy scalar as a JSON-able number."""
    return None if value is None else kind(value)


# One pass -------------------------------------------------------------------------------------------------------------

_SOURCES = (np.random.Generator, np.random.RandomState, Sampler)  # of randomness, which each pass replaces


def seed_of(sampler: Sampler) -> tuple[int, bool]:
    """Return a seed for everything random in a sampler, and whether it was given.

    It is made of one integer from each generator that the sampler holds, and of the seed of each sampler that it holds,
    if that was given. Where there is neither, it comes from the system.
    """
    seeds = []
    for source in {id(source): source for _, source in _sources(sampler)}.values():
        if isinstance(source, np.random.Generator):
            seeds.append(int(source.integers(2**63)))
        elif isinstance(source, np.random.RandomState):
            seeds.append(int(source.randint(2**63, dtype=np.int64)))
        else:
            seed = source.order_seed()
            seeds += [seed] * source.order_seed_is_given
    held = {id(source) for _, source in _sources(sampler)}
    if isinstance(sampler.rng, np.random.Generator) and id(sampler.rng) not in held and sampler.rng is sampler.rng:
        raise ValueError(
            f"`rng` of {type(sampler).__name__} must be an attribute of the sampler, so that each pass can replace it "
            "by one made from seed and epoch; got a generator that is kept elsewhere."
        )
    if not seeds:
        return int(np.random.default_rng().integers(2**63)), False
    return (seeds[0] if len(seeds) == 1 else int(keyed_rng(0, *seeds).integers(2**63))), True


def samplers_in(sampler: Sampler) -> dict[str, Sampler]:
    """Return the samplers that another one holds, by the names of its attributes."""
    return {name: source for name, source in _sources(sampler) if isinstance(source, Sampler)}


def pass_of(sampler: Sampler, epoch: int, seed: int) -> Sampler:
    """Return a copy of a sampler that makes the requests of an epoch.

    Its generators are new ones, made from seed, epoch and the name of the attribute. The samplers that it holds are
    passes of the same epoch.
    """
    one = copy(sampler)
    made: dict[int, Any] = {}
    for name, source in _sources(sampler):
        if id(source) not in made:
            made[id(source)] = _renewed(source, seed, epoch, zlib.crc32(name.encode()))
    for name, value in _attributes(one):
        renewed = _replaced(value, made)
        if renewed is not value:
            vars(one)[name] = renewed
    one._order_seed = seed, one._rng
    one.set_epoch(epoch)
    return one


def _renewed(source: Any, seed: int, epoch: int, name: int) -> Any:
    if isinstance(source, Sampler):
        own = source.order_seed()
        derived = int(keyed_rng(seed, SAMPLERS, name).integers(2**63))
        return pass_of(source, epoch, own if source.order_seed_is_given else derived)
    rng = keyed_rng(seed, epoch, ATTRIBUTES, name)
    return np.random.RandomState(rng.bit_generator) if isinstance(source, np.random.RandomState) else rng


def _replaced(value: Any, made: dict[int, Any]) -> Any:
    if id(value) in made:
        return made[id(value)]
    if type(value) is dict and any(id(item) in made for item in value.values()):
        return {name: made.get(id(item), item) for name, item in value.items()}
    if type(value) in (list, tuple) and any(id(item) in made for item in value):
        return type(value)(made.get(id(item), item) for item in value)
    return value


def _attributes(sampler: Sampler) -> list[tuple[str, Any]]:
    """Return the attributes of a sampler, including those of its classes."""
    of_classes = {name: value for kind in reversed(type(sampler).__mro__) for name, value in vars(kind).items()}
    return [(name, value) for name, value in {**of_classes, **vars(sampler)}.items() if name != "_order_seed"]


def _sources(sampler: Sampler) -> Iterator[tuple[str, Any]]:
    """Yield the generators and samplers that a sampler holds, with their names."""
    for name, value in _attributes(sampler):
        if isinstance(value, _SOURCES):
            yield name, value
        elif type(value) is dict:
            yield from ((f"{name}[{key!r}]", item) for key, item in value.items() if isinstance(item, _SOURCES))
        elif type(value) in (list, tuple):
            yield from ((f"{name}[{number}]", item) for number, item in enumerate(value) if isinstance(item, _SOURCES))
