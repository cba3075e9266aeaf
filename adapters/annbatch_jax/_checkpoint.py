"""The batches of a loader as an iterator that can be checkpointed as Grain's are."""

from __future__ import annotations

from operator import length_hint
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from annbatch import Loader
    from annbatch.loader import Mix
    from annbatch.types import LoaderOutput


class CheckpointableIterator:
    """Yields the batches of a loader, one epoch after the other, and can continue from a state.

    It has ``get_state`` and ``set_state``, as Grain's iterators do. Save the state with
    ``orbax.checkpoint.args.JsonSave``; Grain's own checkpoint handler takes Grain's iterators only.

    Parameters
    ----------
    loader
        A loader made with ``to="jax"``, or a mix of such loaders.
    n_epochs
        Number of epochs after which the iteration ends; default, never.

    Raises
    ------
    ValueError
        At ``next``, if epochs have no batch and ``n_epochs`` is None: the search would never end.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> from annbatch_jax import CheckpointableIterator
    >>> def make_iterator():
    ...     loader = Loader(
    ...         batch_size=4, shuffle=True, seed=0, chunk_size=4, return_index=True
    ...     )
    ...     return CheckpointableIterator(loader.add_dataset(np.zeros((20, 2))))
    >>> batches = make_iterator()
    >>> for _ in range(8):
    ...     batch = next(batches)
    >>> other = make_iterator()
    >>> other.set_state(batches.get_state())
    >>> next(batches)["index"].tolist() == next(other)["index"].tolist()
    True
    """

    def __init__(self, loader: Loader | Mix, *, n_epochs: int | None = None) -> None:
        self._loader = loader
        self._n_epochs = n_epochs
        self._batches: Iterator[LoaderOutput] | None = None

    def __iter__(self) -> CheckpointableIterator:
        return self

    def __next__(self) -> LoaderOutput:
        while self._n_epochs is None or self._batches is not None or self._loader.epoch < self._n_epochs:
            if self._batches is None:
                self._batches = iter(self._loader)
                if self._n_epochs is None and not length_hint(self._loader, 1):  # a mix may have no length
                    raise ValueError("`n_epochs` must be given if an epoch has no batches, got None.")
            batch = next(self._batches, None)
            if batch is not None:
                return batch
            self._batches = None
        raise StopIteration

    def get_state(self) -> dict[str, Any]:
        """Return the position of the loader: JSON-able, a few hundred bytes."""
        return self._loader.state_dict()

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continue from the position of a loader; see :meth:`annbatch.Loader.load_state_dict`."""
        self._loader.load_state_dict(state)
        self._batches = None
