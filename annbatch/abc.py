"""The two contracts that users implement: where rows come from in which order, and what they become."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ._plan.position import Position, Stretches, cut, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from .batch import CSR, CompactWindow
    from .samplers import RowSet
    from .transforms import Transform
    from .types import LoadRequest

__all__ = ["Adapter", "Sampler"]


class Adapter(ABC):
    """What an array framework supplies so that batches arrive as its own arrays.

    An adapter is found by name through the entry-point group ``annbatch.adapters``; the entry point names a
    callable that takes ``device`` and returns the adapter: ``TorchAdapter(device=None)``. It imports its framework
    when it is made, not when its module is imported, and raises
    :class:`annbatch.errors.MissingDependencyError` with the ``pip install`` command where that fails.

    **Threads.** ``allocate``, ``capacity`` and ``stage`` are called on annbatch's threads, possibly at once; everything
    else on the thread that iterates, what ``stage`` returned included. **Ownership.** The host arrays given to
    ``dense``, ``csr``, ``densify`` and ``stage`` stay valid while anything refers to them, so sharing their memory is
    right and copying on the host is waste. An adapter whose transfer is asynchronous keeps a reference until the
    transfer has ended. **Types.** Dtypes are kept. One that the framework lacks is a :class:`TypeError` that names it
    and says what to do. Adapters are pickled with their loader.

    Prove one right with :class:`annbatch.testing.AdapterTests`.
    """

    name: str
    """The name under which ``Loader(to=...)`` finds it; used in error messages."""

    @property
    def densifies(self) -> bool:
        """Whether ``densify`` makes dense batches on a device, where the sparse form is what should travel.

        Where it is False, the default, the core writes batches dense as it decodes them and gives them to ``dense``.
        """
        return False

    @property
    def ahead(self) -> int:
        """How many batches of a window are converted before the user asks for them, so that they travel meanwhile.

        Default 0: right on the host, and where the user's work would wait for what was begun before it.
        """
        return 0

    def allocate(self, nbytes: int) -> np.ndarray:
        """Return host memory for a window.

        Parameters
        ----------
        nbytes
            How many bytes.

        Returns
        -------
        numpy.ndarray
            ``(nbytes,)`` uint8, 64-byte aligned, contents undefined. Ordinary memory by default; pinned memory where
            the framework copies to a device.
        """
        from ._runtime.buffers import allocate_aligned

        return allocate_aligned(nbytes)

    def capacity(self, nnz: int) -> int:
        """Return how many elements a sparse batch of ``nnz`` values should have room for (at least ``nnz``).

        A framework that compiles for shapes rounds up to a few sizes here; the core lays the padding out
        (value 0, column ``n_var``), so it costs no copy.
        """
        return nnz

    @abstractmethod
    def dense(self, array: np.ndarray) -> Any:
        """Return a dense host array (C-contiguous, any dimension and NumPy dtype) as the framework's array."""

    @abstractmethod
    def csr(self, matrix: CSR) -> Any:
        """Return a sparse host batch as the framework's CSR matrix, dtypes kept."""

    def densify(self, matrix: CSR) -> Any:
        """Return a sparse host batch as a dense array of the framework, made on the device where there is one.

        Repeated columns in a row add up in the dtype, as in SciPy. By default it is made on the host, then given to
        ``dense``: right where the device is the CPU.
        """
        return self.dense(matrix.to_dense())

    @property
    def stages(self) -> bool:
        """Whether windows that are to become dense are given to ``stage`` whole, instead of batches to ``densify``.

        Default False. It implies ``densifies``.
        """
        return False

    def applies(self, transform: Transform) -> bool:
        """Say whether what ``stage`` returns applies a transform on the device. By default no: the host does it."""
        return False

    def stage(self, window: CompactWindow) -> Callable[[int], Any]:
        """Start moving a window to the device, and return what makes dense batches of it there.

        Called as soon as the window has been read, so that it travels while the user works on the one before. On the
        host it may be let go as soon as it has travelled.

        Parameters
        ----------
        window
            In memory from ``allocate``. Its ``transform`` is one that ``applies`` said yes to.

        Returns
        -------
        callable
            Takes the number of a batch and returns ``window.shape(number)`` as an array of the framework, of
            ``window.dtype``. Repeated columns of a row add up; so do their transformed values.

        Raises
        ------
        annbatch.errors.DeviceMemoryError
            If the device has no room for the window.
        """
        raise NotImplementedError(f"{type(self).__name__} says that it stages, and must define `stage`.")


class Sampler(ABC):
    """Which rows are read together, in which order, and how they split into batches.

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
    _seed_is_given: bool = False
    _pass_rng: np.random.Generator | None = None
    _is_dealt: bool = False
    _n_ranks: int = 1

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

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for two samplers to make the same batches.

        Returns
        -------
        dict
            JSON-able and small. A state says it, and the number of batches, so that a loader refuses the state of
            another sampler and names what differs. Subclasses add sizes and settings of their own:
            ``super().identity() | {"window": self.window}``.
        """
        from ._passes import samplers_in
        from .samplers._row_set import mask_text

        seed, inner = self._draw_seed(), samplers_in(self)
        random = self._seed_is_given or self.shuffle or inner
        return {
            "name": type(self).__name__,
            "batch_size": _plain(self.batch_size, int),
            "shuffle": _plain(self.shuffle, bool),
            "mask": mask_text(self.mask),
            **({"seed": seed} if random else {}),
            **({"samplers": {name: sampler._identity_within() for name, sampler in inner.items()}} if inner else {}),
        }

    def _identity_within(self) -> dict[str, Any]:
        """Return the identity without the seed, which that of the sampler around this one is made of."""
        return {name: value for name, value in self.identity().items() if name != "seed"}

    def sample(
        self, n_obs: int, *, position: Position | None = None, worker: tuple[int, int] = (0, 1)
    ) -> Iterator[LoadRequest]:
        """Yield the requests of one epoch, each with ``splits``. Not to be overridden.

        Parameters
        ----------
        n_obs
            Number of rows to sample from.
        position
            Where to begin; default, at the beginning of the epoch. What comes before is not yielded.
        worker
            Number of this worker and how many there are: each takes a part of the batches.

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
        stretches = self._to_come(n_obs, position, worker)
        if not self._is_dealt and worker[1] == 1:  # no need to trust that `n_batches` is right
            stretches = [range(position.steps + sum(steps for _, steps in position.dealt), sys.maxsize)]
        for stretch in stretches:
            yield from self._between(n_obs, epoch, stretch)

    def n_to_come(self, n_obs: int, *, position: Position, worker: tuple[int, int] = (0, 1)) -> int:
        """Return how many batches ``sample`` yields from a position on."""
        return sum(map(len, self._to_come(n_obs, position, worker)))

    def _to_come(self, n_obs: int, position: Position, worker: tuple[int, int]) -> Stretches:
        share = self._share(n_obs, position)
        if worker[1] > 1:
            share = cut(share, *parts(sum(map(len, share)), worker[1], equal=False)[worker[0]])
        return cut(share, position.steps, sys.maxsize)

    def _share(self, n_obs: int, position: Position) -> Stretches:
        """Return which batches are for this rank, those included that it has taken."""
        return [range(sum(steps for _, steps in position.dealt), self.n_batches(n_obs))]

    def _between(self, n_obs: int, epoch: int, batches: range) -> Iterator[LoadRequest]:
        """Yield the requests of a stretch of batches."""
        window, batch, requests = self._seek(n_obs, epoch, batches.start)
        try:
            for number, request in enumerate(requests, window):
                if batch >= batches.stop:
                    break
                if "splits" not in request:
                    request = {**request, "splits": self._default_splits(request, epoch, number)}
                splits = request["splits"]
                wanted = splits[max(0, batches.start - batch) : batches.stop - batch]
                batch += len(splits)
                if len(wanted) < len(splits):
                    request = {**request, "splits": wanted}
                if wanted:
                    yield request
        finally:
            close = getattr(requests, "close", None)  # an abandoned epoch ends in the sampler's own finally
            if close is not None:
                close()

    def _seek(self, n_obs: int, epoch: int, batch: int) -> tuple[int, int, Iterator[LoadRequest]]:
        """Return the requests from one at or before ``batch``, that one's number, and that of its first batch.

        By default requests are made from the beginning.
        """
        from ._passes import pass_of

        return 0, 0, pass_of(self, epoch)._sample(n_obs)

    def _n_of_epoch(self, n_obs: int) -> int:
        """Return the number of batches of an epoch, on all ranks."""
        return self.n_batches(n_obs)

    def _n_short(self, n_obs: int) -> int:
        """Return how many rows a last batch has that is shorter than the others; 0 where there is none."""
        return 0

    def _draw_seed(self) -> int:
        """Return the integer that is drawn once: from its generators, anew where ``rng`` is replaced, or the system."""
        if self._seed is None or self._rng is not self._pass_rng:
            from ._passes import seed_of

            self._seed, self._seed_is_given = seed_of(self)
            self._pass_rng = self._rng
        return self._seed

    def _take_seed(self, seed: int) -> None:
        """Take over the seed of a state or of other ranks, where none was given."""
        self._seed = seed

    def _default_splits(self, request: LoadRequest, epoch: int, position: int) -> list[np.ndarray]:
        import numpy as np

        from ._passes import window_rng
        from ._plan.ranges import split_every
        from ._plan.window_rows import n_requested

        batch_size, shuffle = self.batch_size, self.shuffle
        if batch_size is None or shuffle is None:
            name = "batch_size" if batch_size is None else "shuffle"
            raise ValueError(f"`{name}` of {type(self).__name__} must be set where a request has no splits, got None.")
        n_rows = n_requested(request["requests"])
        if not shuffle:
            return split_every(np.arange(n_rows), batch_size)
        order = window_rng(self._draw_seed(), epoch, position).permutation(n_rows)
        return split_every(order, batch_size)


def _plain(value: Any, kind: type) -> Any:
    """Return a NumPy scalar as JSON has it."""
    return None if value is None else kind(value)
