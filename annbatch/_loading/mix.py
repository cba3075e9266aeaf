"""Batches of several loaders, by weight."""

from __future__ import annotations

import sys
from copy import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol, Self, get_args

import numpy as np

from .._arguments import check_choice, wrong_kind
from ..samplers._checks import check_weights, whole
from ..samplers._ranks import this_worker
from ..samplers._row_set import RowSet
from .add_datasets import AddsDatasets, datasets_of
from .mix_position import MixPlan, MixPosition, Stop
from .progress import check_format, check_same, is_seed, position_in, shortened
from .torch_dataset import TorchDataset

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from ..samplers._base import Sampler
    from ..types import LoaderOutput

FORMAT, VERSION = "annbatch.mix", 1
_NUMBER = (int, float, np.integer, np.floating)


class Mixable(Protocol):
    """What a mix needs of a :class:`~annbatch.Loader`."""

    @property
    def batch_sampler(self) -> Sampler: ...
    @property
    def n_obs(self) -> int: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[LoaderOutput]: ...
    def set_epoch(self, epoch: int) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class Mix(TorchDataset):
    """Batches of several loaders, by weight; :func:`annbatch.mix` makes it.

    Each iteration works on copies of the loaders, so that it does not change their positions. The copies share the
    threads, memory and counters of the loaders.

    Parameters
    ----------
    loaders, weights, seed, stop
        See :func:`annbatch.mix`.
    """

    def __init__(self, loaders: Sequence[Mixable], weights: Sequence[float], *, seed: int | None, stop: Stop) -> None:
        self._loaders = list(loaders)
        self._ranks = loaders[0].batch_sampler.n_ranks_of_epoch
        self._seed_is_given = seed is not None
        if seed is None:  # ranks must agree
            seed = 0 if self._ranks > 1 else int(np.random.default_rng().integers(2**63))
        self._plan = MixPlan(tuple(weights), stop, seed)
        # Where it is, and where the next iteration begins; within an epoch, with copies of the loaders that are there.
        self._position = self._next = MixPosition()
        self._at: list[Mixable] | None = None
        self._next_at: list[Mixable] | None = None
        self._chosen = 0

    @property
    def loaders(self) -> list[Mixable]:
        """The loaders, in the order of ``batch["source"]``."""
        return list(self._loaders)

    @property
    def weights(self) -> list[float]:
        """The weight of each loader; they need not add up to 1."""
        return list(self._plan.weights)

    @property
    def sampler(self) -> Self:
        """The mix itself, as Lightning looks here for ``set_epoch``."""
        return self

    @property
    def epoch(self) -> int:
        """Number of the next iteration's epoch; each iteration that begins adds one, also if it is left early."""
        return self._next.epoch

    def _set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch or not self._next.is_within:
            self._choose(MixPosition(epoch), None)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the mix and of its loaders: after the batch that it yielded last.

        Returns
        -------
        dict
            JSON-able, less than 1 KB per loader. It is the same on every rank, so that one saves it for all.
        """
        return {
            "format": FORMAT,
            "version": VERSION,
            "position": asdict(self._position),
            "mix": self._identity(),
            "loaders": [loader.state_dict() for loader in self._at or self._copies()],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another mix stopped: the next iteration yields exactly the remaining batches.

        The mix needs the same loaders and weights. As in :meth:`annbatch.Loader.load_state_dict`, the number of ranks
        may differ, and a mix that was made without a seed takes over that of the state.

        Parameters
        ----------
        state
            Return value of :meth:`state_dict`.

        Raises
        ------
        ValueError
            If it is not such a state, or is one of another mix or other loaders; the message names what differs.
        """
        check_format(state, FORMAT, VERSION, ("position", "mix", "loaders"), of="a mix")
        own, said, of_loaders = self._identity(), state["mix"], state["loaders"]
        if not isinstance(said, dict) or not isinstance(of_loaders, list | tuple):
            raise ValueError(f"`state` must be what `state_dict` of a mix returned, got {shortened(state)}.")
        if not self._seed_is_given and is_seed(said.get("seed")):
            own["seed"] = said["seed"]
        check_same("mix", said | {"n_loaders": len(of_loaders)}, own)
        position = MixPosition.read(state["position"], len(self._loaders))
        loaders = self._copies()
        for number, (loader, of_loader) in enumerate(zip(loaders, of_loaders, strict=True)):
            try:
                loader.load_state_dict(of_loader)
            except ValueError as error:
                raise ValueError(f"Loader {number} of the mix: {error}") from None
        self._plan = replace(self._plan, seed=own["seed"])
        self._choose(position, loaders)
        self._tell_workers(None)

    def __len__(self) -> int:
        """Return the number of batches of an epoch, the same in every epoch.

        Raises
        ------
        TypeError
            If the mix never stops.
        ValueError
            If a loader has no batches.
        """
        if self._plan.stop == "never":
            raise TypeError("A mix has no length with stop='never'.")
        return sum(self._plan.start(0, self._lengths((0, 1)), self._ranks, (0, 1)).counts)

    def __iter__(self) -> Iterator[LoaderOutput]:
        """Iterate over the batches of the next epoch, whether or not the iteration before was finished.

        Yields
        ------
        LoaderOutput
            A batch of one of the loaders; ``batch["source"]`` is the loader's number.

        Raises
        ------
        ValueError
            If a loader has no batches, or cannot be iterated over.
        """
        self._lengths(this_worker())
        for loader, weight in zip(self._copies(), self._plan.weights, strict=True):
            if weight:
                iter(loader)  # refuses what it cannot yield
        self._join_workers()
        return self._iterate()

    def _begin(self, worker: tuple[int, int]) -> tuple[MixPosition, list[Mixable]]:
        """Return where the next iteration begins, with copies of the loaders that are there."""
        position, loaders, lengths = self._next, self._next_at, self._lengths(worker)
        if loaders is None or not position.is_within:
            position, loaders = self._plan.start(position.epoch, lengths, self._ranks, worker), self._copies()
            for loader, epoch in zip(loaders, position.epochs, strict=True):
                loader.set_epoch(epoch)
        elif (position.ranks, position.workers) != (self._ranks, worker[1]):
            left = [self._left(loader, worker) for loader in loaders]
            position = self._plan.resume(position, lengths, left, self._ranks, worker)
        self._position, self._at = position, loaders
        self._next, self._next_at = MixPosition(position.epoch + 1), None
        return position, loaders

    def _iterate(self) -> Generator[LoaderOutput, None, None]:
        # With the first batch, not before: Lightning makes iterators that it does not use.
        worker = this_worker()
        position, loaders = self._begin(worker)
        opened = {i: iter(loader) for i, loader in enumerate(loaders) if self._plan.weights[i]}
        plan, chosen, total = self._plan, self._chosen, sum(position.counts)
        try:
            for source in plan.loaders_from(position, worker[0]):
                batch = next(opened[source], None)
                if batch is None and plan.stop == "first":  # its sampler has fewer batches than it said
                    break
                if batch is None:
                    opened[source] = iter(loaders[source])  # its next epoch
                    batch = next(opened[source], None)
                if batch is None:
                    raise ValueError(f"`loaders` must have the batches that `len` promises, got none in {source}.")
                position = replace(position, steps=position.steps + 1)
                # As in a loader: a loop that counts batches never asks for what follows the last.
                if position.steps == total and position.workers == 1:
                    self._record(MixPosition(position.epoch + 1), None, chosen)
                else:
                    self._record(position, loaders, chosen)
                batch["source"] = source
                yield batch
            self._record(MixPosition(position.epoch + 1), None, chosen)
        finally:
            for batches in opened.values():
                batches.close()  # type: ignore[attr-defined]  # a loader's iterators are generators

    def close(self) -> None:
        """Stop open iterations and all threads, as :meth:`annbatch.Loader.close` does for each loader."""
        for loader in self._loaders:
            loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Mix({self._loaders}, weights={self.weights}, stop={self._plan.stop!r})"

    def _choose(self, position: MixPosition, loaders: list[Mixable] | None) -> None:
        self._position = self._next = position
        self._at = self._next_at = loaders
        self._chosen += 1

    def _record(self, position: MixPosition, loaders: list[Mixable] | None, chosen: int) -> None:
        """Record how far an iteration has come, unless another position was chosen since it began."""
        if chosen == self._chosen:
            self._position, self._at = position, loaders

    def _copies(self) -> list[Mixable]:
        return [copy(loader) for loader in self._loaders]

    def _identity(self) -> dict[str, Any]:
        plan = self._plan
        return {"n_loaders": len(self._loaders), "weights": self.weights, "stop": plan.stop, "seed": plan.seed}

    def _lengths(self, worker: tuple[int, int]) -> list[int]:
        """Return the number of batches of each loader in one of its epochs, on this rank."""
        lengths = []
        for number, (loader, weight) in enumerate(zip(self._loaders, self._plan.weights, strict=True)):
            lengths.append(len(loader) if weight else 0)
            if weight and not lengths[-1]:
                raise ValueError(f"`loaders` must have batches, got none in {number}: {loader!r}.")
            if weight and self._plan.stop == "never" and lengths[-1] < worker[1]:
                raise ValueError(
                    f"`num_workers` must be at most {lengths[-1]}, the number of batches in loader {number}, where a "
                    f"mix never stops, got {worker[1]}."
                )
        return lengths

    def _left(self, loader: Mixable, worker: tuple[int, int]) -> tuple[int, int]:
        """Return the epoch of a loader, and how many of its batches are left for this rank."""
        position = position_in(loader.state_dict()["position"]).resumed_by(self._ranks, worker[1])
        return position.epoch, loader.batch_sampler.n_remaining_batches(loader.n_obs, position=position)


def mix(
    loaders: Sequence[Mixable],
    weights: Sequence[float] | None = None,
    seed: int | None = None,
    stop: Stop = "first",
    *,
    temperature: float | None = None,
) -> Mix:
    """Mix the batches of several loaders, by weight.

    Each batch comes from one loader, whose number is ``batch["source"]``. Loaders come in random order: in an epoch of
    the mix, the numbers of their batches have the ratios of the weights, exactly except for rounding. The order is a
    function of seed and epoch alone, and the same on every rank.

    Parameters
    ----------
    loaders
        :class:`Loader` objects: all with a :class:`~annbatch.samplers.DistributedSampler`, or none. Each reads ahead on
        its own, within its own ``prefetch``.
    weights
        Share of each loader in the batches: finite and not negative, in any unit. 0 leaves a loader out. Default:
        equal shares.
    seed
        Seed of the order of loaders. Each loader has a seed of its own for the order of its rows.
    stop
        ``"first"``: an epoch ends with the first loader that comes to the end of its own epoch. ``"all"``: loaders at
        their end begin their next epoch, until every one has come to its end. ``"never"``: endless.
    temperature
        In place of weights: each is the number of rows to the power of ``1 / temperature``. At 1, shares are in
        proportion to the rows; at higher temperatures, they are closer to each other.

    Returns
    -------
    annbatch.loader.Mix
        An iterable like a loader: it has ``len``, ``epoch``, ``set_epoch``, ``state_dict`` and ``load_state_dict``.

    Raises
    ------
    TypeError
        If ``loaders`` are not loaders, or ``weights`` not numbers.
    ValueError
        If an argument is out of range or excludes another.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader, mix
    >>> loaders = [
    ...     Loader(batch_size=4).add_dataset(np.zeros((n, 2))) for n in (120, 80)
    ... ]
    >>> batches = mix(loaders, weights=[3, 1], seed=0)
    >>> len(batches)
    40
    >>> sources = [batch["source"] for batch in batches]
    >>> sources.count(0), sources.count(1)
    (30, 10)
    """
    if not isinstance(loaders, list | tuple):
        advice = {"a Loader": "give a list of several", "a DatasetCollection": "load each with a Loader of its own"}
        raise wrong_kind("loaders", "a list of Loader objects", loaders, advice)
    if not all(isinstance(loader, AddsDatasets) for loader in loaders):
        raise TypeError(f"`loaders` must be a list of Loader objects, got {shortened(loaders)}.")
    if not len(loaders):
        raise ValueError("`loaders` must hold at least one Loader, got none.")
    ranks = {loader.batch_sampler.n_ranks_of_epoch for loader in loaders}
    if len(ranks) > 1:
        raise ValueError(
            f"`loaders` must all be distributed to the same number of ranks, got {sorted(ranks)}: wrap each sampler in "
            "a DistributedSampler."
        )
    _check_classes(loaders)
    check_choice("stop", stop, get_args(Stop))
    if seed is not None and (seed := whole(seed, "seed")) < 0:
        raise ValueError(f"`seed` must not be negative, got {seed}.")
    if weights is not None and temperature is not None:
        raise ValueError(f"`temperature` must be left out where weights are given, got {temperature!r}.")
    if temperature is not None:
        weights = _weights_at(temperature, loaders)
    elif weights is None:
        weights = [1.0] * len(loaders)
    return Mix(loaders, _checked(weights, len(loaders)), seed=seed, stop=stop)


def _check_classes(loaders: Sequence[AddsDatasets]) -> None:
    """Raise ``ValueError`` if a label means one class in the batches of one loader, and another in those of another."""
    known = [labels for loader in loaders if (labels := datasets_of(loader).labels) is not None]
    for labels in known[1:]:
        if not labels.classes.equals(known[0].classes):
            raise ValueError(
                f"`loaders` must have the same classes, as labels are their numbers, got {[*known[0].classes][:10]} "
                f"and {[*labels.classes][:10]}: make each with `Loader(labels=..., classes=...)` of one list."
            )


def _checked(weights: Any, n_loaders: int) -> list[float]:
    are_numbers = hasattr(weights, "__iter__") and all(isinstance(weight, _NUMBER) for weight in weights)
    if not are_numbers or np.ndim(weights) != 1:  # of a dict or a set, 0
        raise TypeError(f"`weights` must be a list of numbers, got {weights!r}.")
    if len(weights) != n_loaders:
        raise ValueError(f"`weights` must have one number per loader ({n_loaders}), got {len(weights)}.")
    numbers = [np.inf if abs(weight) > sys.float_info.max else float(weight) for weight in weights]
    check_weights(np.array(numbers), "weights")
    return numbers


def _weights_at(temperature: Any, loaders: Sequence[Mixable]) -> list[float]:
    if not isinstance(temperature, _NUMBER) or not temperature > 0:
        raise ValueError(f"`temperature` must be a positive number, got {temperature!r}.")
    n_rows = [len(RowSet(loader.batch_sampler.mask, loader.n_obs)) if loader.n_obs else 0 for loader in loaders]
    if not all(n_rows):
        raise ValueError(f"`temperature` must be given once every loader has rows, got loaders of {n_rows} rows.")
    # As shares of the most rows, so that no power overflows, and at least the smallest number, so that none is 0.
    return [max(float((n / max(n_rows)) ** (1 / temperature)), sys.float_info.min) for n in n_rows]
