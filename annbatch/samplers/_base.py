"""The base of all samplers; and below it one pass: a copy in which seed and epoch decide everything random.

Passes that are open at the same time do not disturb each other, and an abandoned one leaves nothing behind.
"""

from __future__ import annotations

import sys
import zlib
from abc import ABC, abstractmethod
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from .._plan.position import Position, cut, parts
from .._plan.ranges import split_every
from .._plan.window_rows import n_requested
from ._row_set import mask_text
from ._seeding import ATTRIBUTES, SAMPLERS, keyed_rng, window_rng

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._plan.position import BatchRanges
    from ..types import LoadRequest
    from ._row_set import RowSet


class Sampler(ABC):
    """The order of rows: which are read together, and how they split into batches.

    Subclasses supply ``batch_size``, ``shuffle``, ``n_batches``, ``validate`` and ``_sample``. Requests may be made
    ahead of the batches that the user has seen, on another thread, and are made again (without reading) to
    resume. Randomness is NumPy's alone: ``torch.manual_seed`` has no effect.

    **The order is a function of seed and epoch.** One integer is drawn from ``rng``, or whichever NumPy generators are
    attributes of the sampler or in a list, tuple or dict that is one. Every pass runs on a copy of the sampler, whose
    generators this integer and the epoch decide, and whose attributes that are samplers are at the same epoch. So a
    subclass that draws from them alone can be resumed, and gives the same order however far earlier epochs were read.
    What ``_sample`` assigns to ``self`` is gone after the pass: ``self.epoch`` says which one it is.

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

    _mask: slice | RowSet = slice(0, None)
    _rng: np.random.Generator | None = None
    _epoch: int = 0
    _seed: int | None = None
    seed_is_given: bool = False
    """Whether the seed comes from the user, not from the system."""
    _pass_rng: np.random.Generator | None = None
    _is_assigned: bool = False
    """Whether each rank has a share of the batches of an epoch."""
    assigned_ranks: int = 1
    """Number of ranks that share an epoch."""

    @property
    def mask(self) -> slice | RowSet:
        """The rows that are sampled from."""
        return self._mask

    @mask.setter
    def mask(self, value: slice | RowSet) -> None:
        self._mask = value

    @property
    def rng(self) -> np.random.Generator | None:
        """The generator that the sampler was given or made; in ``_sample``, that of the epoch."""
        return self._rng

    @rng.setter
    def rng(self, value: np.random.Generator | None) -> None:
        self._rng, self._seed = value, None

    @property
    def epoch(self) -> int:
        """The epoch that the next ``sample`` produces."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``sample`` produces; the loader calls this before each iteration."""
        self._epoch = epoch

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

    def sample(
        self, n_obs: int, *, position: Position | None = None, worker: tuple[int, int] = (0, 1)
    ) -> Iterator[LoadRequest]:
        """Yield the requests of one epoch, each with ``splits``. Not to be overridden.

        Parameters
        ----------
        n_obs
            Number of rows to sample from.
        position
            Where to begin; default, at the start of the epoch. Earlier batches are not yielded.
        worker
            Number of this worker, and number of workers: each takes a part of the batches.

        Yields
        ------
        LoadRequest
            With ``splits`` filled in from ``batch_size`` and ``shuffle`` where ``_sample`` gave none.

        Raises
        ------
        ValueError
            If ``validate`` refuses ``n_obs``, or a request without ``splits`` comes from a sampler whose
            ``batch_size`` or ``shuffle`` is None.
        """
        self.validate(n_obs)
        epoch = self.epoch  # of the whole pass, also if `set_epoch` is called under way
        position = Position(epoch) if position is None else position
        stretches = self._remaining(n_obs, position, worker)
        if not self._is_assigned and worker[1] == 1:  # no need to trust that `n_batches` is right
            stretches = [range(position.steps + sum(steps for _, steps in position.assigned), sys.maxsize)]
        for stretch in stretches:
            yield from self.requests_between(n_obs, epoch, stretch)

    # What the loader, and samplers around this one, call --------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for two samplers to make the same batches.

        Returns
        -------
        dict
            JSON-able and small. A state holds it, and the number of batches, so that a loader refuses the state of
            another sampler and names the difference. Subclasses add sizes and settings of their own:
            ``super().identity() | {"window": self.window}``.
        """
        seed, inner = self.draw_seed(), samplers_in(self)
        random = self.seed_is_given or self.shuffle or inner
        return {
            "name": type(self).__name__,
            "batch_size": _plain(self.batch_size, int),
            "shuffle": _plain(self.shuffle, bool),
            "mask": mask_text(self.mask),
            **({"seed": seed} if random else {}),
            **(
                {"samplers": {name: sampler.identity_without_seed() for name, sampler in inner.items()}}
                if inner
                else {}
            ),
        }

    def identity_without_seed(self) -> dict[str, Any]:
        """Return the identity without the seed, for the identity of a sampler around this one."""
        return {name: value for name, value in self.identity().items() if name != "seed"}

    def n_remaining(self, n_obs: int, *, position: Position, worker: tuple[int, int] = (0, 1)) -> int:
        """Return the number of batches that ``sample`` yields from a position on."""
        return sum(map(len, self._remaining(n_obs, position, worker)))

    def requests_between(self, n_obs: int, epoch: int, batches: range) -> Iterator[LoadRequest]:
        """Yield the requests of consecutive batches of an epoch."""
        window, batch, requests = self._seek(n_obs, epoch, batches.start)
        try:
            for number, request in enumerate(requests, window):
                if batch >= batches.stop:
                    break
                if "splits" not in request:
                    request = {**request, "splits": self._default_splits(request, epoch, number)}
                splits = request["splits"]
                chosen = splits[max(0, batches.start - batch) : batches.stop - batch]
                batch += len(splits)
                if len(chosen) < len(splits):
                    request = {**request, "splits": chosen}
                if chosen:
                    yield request
        finally:
            close = getattr(requests, "close", None)  # an abandoned epoch ends in the sampler's own finally
            if close is not None:
                close()

    def n_batches_of_epoch(self, n_obs: int) -> int:
        """Return the number of batches of an epoch, on all ranks."""
        return self.n_batches(n_obs)

    def n_rows_short(self, n_obs: int) -> int:
        """Return the number of rows of a last batch that is shorter than the others; 0 where there is none."""
        return 0

    def draw_seed(self) -> int:
        """Return the seed: drawn once from the generators, again if ``rng`` is replaced; else from the system."""
        if self._seed is None or self._rng is not self._pass_rng:
            self._seed, self.seed_is_given = seed_of(self)
            self._pass_rng = self._rng
        return self._seed

    def take_seed(self, seed: int) -> None:
        """Take over the seed of a state or of other ranks, if none was given."""
        self._seed = seed

    # Steps of `sample` ------------------------------------------------------------------------------------------------

    def _remaining(self, n_obs: int, position: Position, worker: tuple[int, int]) -> BatchRanges:
        share = self._share(n_obs, position)
        if worker[1] > 1:
            share = cut(share, *parts(sum(map(len, share)), worker[1], equal=False)[worker[0]])
        return cut(share, position.steps, sys.maxsize)

    def _share(self, n_obs: int, position: Position) -> BatchRanges:
        """Return the batches for this rank, including those that it has taken."""
        return [range(sum(steps for _, steps in position.assigned), self.n_batches(n_obs))]

    def _seek(self, n_obs: int, epoch: int, batch: int) -> tuple[int, int, Iterator[LoadRequest]]:
        """Return the requests from one at or before ``batch``, that one's number, and that of its first batch.

        By default requests are made from the beginning.
        """
        return 0, 0, pass_of(self, epoch)._sample(n_obs)

    def _default_splits(self, request: LoadRequest, epoch: int, position: int) -> list[np.ndarray]:
        batch_size, shuffle = self.batch_size, self.shuffle
        if batch_size is None or shuffle is None:
            name = "batch_size" if batch_size is None else "shuffle"
            raise ValueError(f"`{name}` of {type(self).__name__} must be set where a request has no splits, got None.")
        n_rows = n_requested(request["requests"])
        if not shuffle:
            return split_every(np.arange(n_rows), batch_size)
        order = window_rng(self.draw_seed(), epoch, position).permutation(n_rows)
        return split_every(order, batch_size)


def _plain(value: Any, kind: type) -> Any:
    """Return a NumPy scalar as a JSON-able number."""
    return None if value is None else kind(value)


_OWN = frozenset({"_pass_rng"})  # the base class's note of which generator the seed is from


def seed_of(sampler: Sampler) -> tuple[int, bool]:
    """Return the seed of everything random in a sampler, and whether it was given.

    Each generator that the sampler holds gives one integer, and each sampler within it its seed, if it was given one.
    Where there is neither, the seed comes from the system.
    """
    seeds = []
    for source in {id(source): source for _, source in _sources(sampler)}.values():
        if isinstance(source, np.random.Generator):
            seeds.append(int(source.integers(2**63)))
        elif isinstance(source, np.random.RandomState):
            seeds.append(int(source.randint(2**63, dtype=np.int64)))
        else:
            seed = source.draw_seed()
            seeds += [seed] * source.seed_is_given
    held = {id(source) for _, source in _sources(sampler)}
    if isinstance(sampler.rng, np.random.Generator) and id(sampler.rng) not in held and sampler.rng is sampler.rng:
        raise ValueError(
            f"`rng` of {type(sampler).__name__} must be an attribute of the sampler, so that a pass can begin with one "
            f"that seed and epoch decide; got a generator that is kept elsewhere."
        )
    if not seeds:
        return int(np.random.default_rng().integers(2**63)), False
    return (seeds[0] if len(seeds) == 1 else int(keyed_rng(0, *seeds).integers(2**63))), True


def samplers_in(sampler: Sampler) -> dict[str, Sampler]:
    """Return the samplers that another one holds, by the names of its attributes."""
    return {name: source for name, source in _sources(sampler) if _is_sampler(source)}


def pass_of(sampler: Sampler, epoch: int, seed: int | None = None) -> Sampler:
    """Return the copy of a sampler that makes the requests of an epoch.

    Its generators, attributes or in a list, tuple or dict that is one, are new ones that seed, epoch and the
    attribute's name decide. So are those of the samplers in it, which are at the same epoch.

    Parameters
    ----------
    sampler
        Not changed.
    epoch
        Number of the epoch.
    seed
        Seed to use instead of the sampler's own.
    """
    one = copy(sampler)
    if seed is None:
        seed = sampler.draw_seed()
    made: dict[int, Any] = {}
    for name, source in _sources(sampler):
        if id(source) not in made:
            made[id(source)] = _renewed(source, seed, epoch, zlib.crc32(name.encode()))
    for name, value in _attributes(one):
        renewed = _replaced(value, made)
        if renewed is not value:
            vars(one)[name] = renewed
    one._seed, one._pass_rng = seed, one._rng
    one.set_epoch(epoch)
    return one


def _renewed(source: Any, seed: int, epoch: int, name: int) -> Any:
    if _is_sampler(source):
        own = source.draw_seed()
        derived = int(keyed_rng(seed, SAMPLERS, name).integers(2**63))
        return pass_of(source, epoch, own if source.seed_is_given else derived)
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
    """Return the attributes of a sampler, those of its class included."""
    of_classes = {name: value for kind in reversed(type(sampler).__mro__) for name, value in vars(kind).items()}
    return [(name, value) for name, value in {**of_classes, **vars(sampler)}.items() if name not in _OWN]


def _sources(sampler: Sampler) -> Iterator[tuple[str, Any]]:
    """Yield what a sampler draws from, with its name."""
    for name, value in _attributes(sampler):
        if _is_source(value):
            yield name, value
        elif type(value) is dict:
            yield from ((f"{name}[{key!r}]", item) for key, item in value.items() if _is_source(item))
        elif type(value) in (list, tuple):
            yield from ((f"{name}[{number}]", item) for number, item in enumerate(value) if _is_source(item))


def _is_source(value: object) -> bool:
    return isinstance(value, np.random.Generator | np.random.RandomState) or _is_sampler(value)


def _is_sampler(value: object) -> bool:
    return isinstance(value, Sampler)
