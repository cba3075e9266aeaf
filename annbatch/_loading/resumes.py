"""The part of a loader that knows where it is, and goes on there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..samplers._checks import digest
from .progress import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..samplers._base import Sampler
    from .datasets import Datasets
    from .progress import Progress


class Resumes:
    """The epoch of a loader, and its state."""

    _progress: Progress
    _datasets: Datasets
    _content: str | None

    if TYPE_CHECKING:

        @property
        def batch_sampler(self) -> Sampler: ...

        @property
        def n_obs(self) -> int: ...

        def _tell_workers(self, epoch: int | None) -> None: ...

    @property
    def epoch(self) -> int:
        """Number of the next iteration's epoch; each iteration that begins adds one, also if it is left early."""
        return self._progress.epoch

    def _set_epoch(self, epoch: int) -> None:
        self._progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this loader: after the batch that it yielded last, also if the iteration was left.

        Returns
        -------
        dict
            JSON-able, less than 10 KB however many rows there are: the epoch, how many batches of it were taken, and
            how to recognize the sampler and the rows. It is the same on every rank, so that one saves it for all.

        Examples
        --------
        >>> import numpy as np
        >>> from annbatch import Loader
        >>> def make_loader():
        ...     loader = Loader(
        ...         batch_size=4,
        ...         chunk_size=2,
        ...         preload_nchunks=4,
        ...         shuffle=True,
        ...         seed=0,
        ...         return_index=True,
        ...     )
        ...     return loader.add_dataset(np.zeros((20, 2)))
        >>> loader = make_loader()
        >>> batches = iter(loader)
        >>> first, second = next(batches)["index"], next(batches)["index"]
        >>> state = loader.state_dict()
        >>> other = make_loader()
        >>> other.load_state_dict(state)
        >>> [*batches][0]["index"].tolist() == [*other][0]["index"].tolist()
        True
        """
        return write_state(self._progress.position, self.batch_sampler, self._data())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where another loader stopped: the next iteration yields exactly the remaining batches.

        Only the remaining rows of the open window are read again. The loader needs the same rows and the same sampler;
        a sampler that was made without a seed takes over that of the state. The number of ranks of a
        :class:`~annbatch.samplers.DistributedSampler` may differ: the rest of the epoch is assigned to those present.

        Parameters
        ----------
        state
            Return value of :meth:`state_dict`.

        Raises
        ------
        ValueError
            If it is not such a state, or of a later version, other rows or another sampler; the message names what
            differs.
        """
        self._progress.resume(read_state(state, self.batch_sampler, self._data()))
        self._tell_workers(None)

    def _data(self) -> dict[str, Any]:
        """Return facts that are equal for loaders of the same rows."""
        return {"n_obs": self.n_obs, "datasets": digest(self._datasets.starts), "content": self._content}
