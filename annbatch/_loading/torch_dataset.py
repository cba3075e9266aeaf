"""A loader as the dataset of PyTorch's ``DataLoader``, whose workers agree on the epoch of each pass."""

from __future__ import annotations

import sys
from abc import abstractmethod
from ctypes import c_int64
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import RawArray, reduce_ctype  # type: ignore[attr-defined]  # typeshed lacks it
from typing import Any

import numpy as np

from ..samplers._checks import epoch_number
from ..samplers._ranks import worker_info

_SLOTS = 1024
"""Workers that are told apart; a DataLoader has far fewer."""

_SEED_BITS = 31

# Here, as a pickler knows the types that were registered when it was made: pickling a loader may make the first one.
ForkingPickler.register(c_int64 * (2 + _SLOTS), reduce_ctype)


class TorchDataset:
    """What is an ``IterableDataset`` wherever PyTorch is imported, though its class does not import PyTorch.

    ``DataLoader`` decides by ``isinstance``, which looks up ``__class__``. In a worker a pass yields a part of the
    batches, of an epoch that all workers have in common.
    """

    _worker_epochs: WorkerEpochs | None = None

    @property
    @abstractmethod
    def epoch(self) -> int:
        """Number of the next iteration's epoch; each iteration that begins adds one, also if it is left early."""

    @abstractmethod
    def _set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration of this process."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration: the order is a function of seed and epoch alone.

        A position within this epoch that ``load_state_dict`` restored stays.
        """
        self._set_epoch(epoch_number(epoch))
        self._tell_workers(self.epoch)

    @property  # type: ignore[misc]  # it is what it would be; looking it up registers it
    def __class__(self) -> type:
        """The class."""
        dataset = getattr(sys.modules.get("torch.utils.data"), "IterableDataset", None)
        if dataset is not None and self._worker_epochs is None:
            dataset.register(type(self))
            self._worker_epochs = WorkerEpochs()
        return type(self)

    def _join_workers(self) -> None:
        """In a worker, turn to the epoch that all workers begin in this pass."""
        worker = worker_info()
        if worker is not None and self._worker_epochs is not None:
            seed = (worker.seed - worker.id) % (1 << _SEED_BITS)
            epoch = self._worker_epochs.join(self.epoch, worker.id % _SLOTS, seed)
            if epoch is not None:
                self._set_epoch(epoch)

    def _tell_workers(self, epoch: int | None) -> None:
        """Let workers begin with an epoch that was chosen; None: those to come with that of their copy of this."""
        if self._worker_epochs is not None:
            self._worker_epochs.choose(epoch, in_worker=worker_info() is not None)


class WorkerEpochs:
    """Agreement of workers on the epoch of each pass, in memory that they share.

    Every pass of a ``DataLoader`` is the next epoch. PyTorch does not tell the main process of a pass, and starts new
    workers for each unless they persist. So each worker marks the epoch that it began and the seed that PyTorch draws
    for the workers of a pass. A new worker takes the epoch that another one marked for its pass, or else the one after
    the last.
    """

    def __init__(self, shared: Any = None, known: int = 0) -> None:
        self._shared = RawArray(c_int64, 2 + _SLOTS) if shared is None else shared
        values = np.frombuffer(memoryview(self._shared), dtype=np.int64)
        self._chosen, self._marks = values[:2], values[2:]  # an epoch and the number of choices; a mark per worker
        self._known = known
        self._is_placed = False

    def __reduce__(self) -> tuple[Any, ...]:
        # The memory goes to a process that is being spawned. Other copies are of no DataLoader yet.
        return WorkerEpochs, () if get_spawning_popen() is None else (self._shared, self._known)

    def choose(self, epoch: int | None, *, in_worker: bool) -> None:
        """Let the next pass begin an epoch; None: that of the copy of the loader that a new worker gets."""
        if in_worker:
            self._is_placed = True
            return
        if epoch is not None:
            self._known += 1  # workers started later get it with their copy of the loader
            self._chosen[:] = epoch, self._known
        self._marks[:] = 0

    def join(self, epoch: int, slot: int, seed: int) -> int | None:
        """Return the epoch that this worker begins, unless it is ``epoch``, with which its copy begins."""
        chosen, known = self._chosen.tolist()
        begun: int | None = None
        if known != self._known:
            self._known, begun = known, chosen
        elif not self._is_placed:
            begun = self._begun(slot, seed)
        self._is_placed = True
        self._marks[slot] = ((epoch if begun is None else begun) + 1) << _SEED_BITS | seed  # written at once
        return begun

    def _begun(self, slot: int, seed: int) -> int | None:
        """Return the epoch of a pass that this worker joins; None for the first pass since the epoch was chosen."""
        own = int(self._marks[slot])
        marks = self._marks[self._marks > 0].tolist()
        if not marks:
            return None
        # A seed may come again, if the user sets it: what this worker began already was another pass.
        of_pass = max((mark for mark in marks if mark % (1 << _SEED_BITS) == seed), default=own)
        return (of_pass >> _SEED_BITS) - 1 if of_pass != own else max(marks) >> _SEED_BITS
