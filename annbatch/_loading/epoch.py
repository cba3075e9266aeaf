"""One pass over the rows: requests become plans on one thread, windows on others, and batches here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .._plan.window_rows import plan_window, rows_by_dataset
from ..samplers._seeding import NEIGHBORS, TOKENS, keyed_rng
from .delivery import VarTables
from .modalities import MaskPlan, mask_key
from .stats import warn_of_read_amplification
from .window import WindowPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from .._anndata.table import ObsWindow
    from .._elements.element import ElementPlan
    from .._elements.encoded import EncodingPass
    from .._plan.position import Position
    from ..samplers._base import Sampler
    from ..types import LoaderOutput, LoadRequest
    from .datasets import Datasets
    from .delivery import Delivery
    from .read_ahead import ReadAhead
    from .resources import Reading
    from .stats import WorkLog
    from .window import LoadedWindow


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the rows of a loader.

    Attributes
    ----------
    position
        Number of the epoch, on which the order depends, and the batch at which the pass begins.
    worker
        Number of this worker, and number of workers; each yields a part.
    datasets
        Data that is read.
    sampler
        Order of the rows.
    delivery
        Form of batches.
    """

    position: Position
    worker: tuple[int, int]
    datasets: Datasets
    sampler: Sampler
    delivery: Delivery

    @property
    def n_batches(self) -> int:
        """Number of batches that the pass yields."""
        return self.sampler.n_remaining_batches(self.datasets.n_obs, position=self.position, worker=self.worker)

    def check(self) -> None:
        """Refuse, before any thread starts, what cannot be sampled or converted.

        Raises
        ------
        ValueError
            If there are no rows, the sampler cannot sample from that many, or an element cannot have its form.
        """
        check_rows(self.datasets)
        self.sampler.validate(self.datasets.n_obs)
        self.datasets.elements()
        self.datasets.neighbors()
        self.datasets.encoded()
        if (labels := self.datasets.labels) is not None:
            _ = labels.classes  # reads the column where it is no categorical

    def batches(self, reading: Reading, *, budget: int) -> Generator[LoaderOutput, None, None]:
        """Return the batches, with windows read ahead within ``budget`` bytes."""
        reading.direct_io.choose(self.datasets.sources())
        seed = partial(seed_of_pass, self.sampler, self.position.epoch, TOKENS)
        return read_batches(self._requests(), self.datasets, self.delivery, reading, budget=budget, seed=seed)

    def _requests(self) -> Generator[LoadRequest, None, None]:
        """Yield the requests of the windows. Runs on the planning thread, ahead of the user."""
        self.sampler.set_epoch(self.position.epoch)
        requests = self.sampler.sample(self.datasets.n_obs, position=self.position, worker=self.worker)
        yield from with_neighbors(requests, self.datasets, self.sampler, self.position.epoch)


def with_neighbors(
    requests: Iterator[LoadRequest], datasets: Datasets, sampler: Sampler, epoch: int
) -> Iterator[LoadRequest]:
    """Return requests that read neighbours of their rows, too, if the loader was asked for them."""
    graph = datasets.neighbors()
    if graph is None:
        return requests
    return graph.join(requests, seed_of_pass(sampler, epoch, NEIGHBORS, graph.request.seed))


def seed_of_pass(sampler: Sampler, epoch: int, purpose: int, seed: int) -> int:
    """Return the number on which what is random beside the order of an epoch depends, such as tokens.

    It is made of the seed of the order, which a state holds, or of ``seed`` where the order needs none.
    """
    if "seed" in sampler.identity():
        seed = sampler.order_seed()
    return int(keyed_rng(seed, epoch, purpose).integers(2**64, dtype=np.uint64))


def check_rows(datasets: Datasets) -> None:
    """Raise ``ValueError`` if there are no rows."""
    if datasets.n_obs < 1:
        raise ValueError(f"The loader must have rows to iterate over, got {datasets.count} datasets with none.")


def read_batches(
    requests: Iterator[LoadRequest],
    datasets: Datasets,
    delivery: Delivery,
    reading: Reading,
    *,
    budget: int,
    seed: Callable[[int], int],
) -> Generator[LoaderOutput, None, None]:
    """Yield the batches of requests, one window per request, with windows read ahead within ``budget`` bytes.

    ``seed`` makes of the seed of tokens, where the loader was given one, the number of this pass.
    """
    encoded = datasets.encoded()
    tokens = None if encoded is None else encoded.of_pass(seed(encoded.seed), reading.submit)
    windows = reading.windows(_plans(requests, datasets, delivery, tokens, reading.log), budget=budget)
    log, annotations = reading.log, VarTables(datasets.var, datasets.modality_vars)
    last = time.perf_counter()
    try:
        while (window := _next(windows, reading)) is not None:
            reading.warned = reading.warned or warn_of_read_amplification(datasets.sources())
            n_rows = np.diff(window.rows.edges[:: 1 + len(window.rows.partners)])
            for output, n in zip(delivery.batches(window, annotations), n_rows.tolist(), strict=True):
                last, before = time.perf_counter(), last
                log.handed_over(n, last - before)
                yield output
    finally:
        reading.end(windows)


def _plans(
    requests: Iterator[LoadRequest], datasets: Datasets, delivery: Delivery, tokens: EncodingPass | None, log: WorkLog
) -> Generator[WindowPlan, None, None]:
    """Plan the windows."""
    n_obs, starts = datasets.n_obs, datasets.starts
    elements, tables = datasets.elements(), datasets.tables()
    labels = datasets.labels
    if tokens is not None and tokens.of.is_yielded:
        elements.pop(tokens.of.key)
    read = [*elements, *tables, *([] if tokens is None else [tokens.of.key])]
    presence = {key: datasets.presence(key) for key in read}
    for number, request in enumerate(requests):
        rows = plan_window(request, n_obs)
        shares = rows_by_dataset(rows.rows, starts)
        of = {key: shares if there is None else there.shares(shares) for key, there in presence.items()}
        plans: dict[str, ElementPlan] = {key: element.plan(rows, of[key]) for key, element in elements.items()}
        if tokens is not None:
            plans["tokens"] = tokens.plan(rows, of[tokens.of.key])
        gather: dict[str, Callable[[], ObsWindow]] = {
            key: partial(delivery.gather, table, of[key], len(rows.rows)) for key, table in tables.items()
        }
        if labels is not None:
            gather["labels"] = partial(labels.window, shares, len(rows.rows))
        masks = {mask_key(key): of[key] for key, there in presence.items() if there is not None}
        plans |= {key: MaskPlan.of(rows, held) for key, held in masks.items()}
        log.planned()
        yield WindowPlan(number, rows, plans, gather)


def _next(windows: ReadAhead[WindowPlan, LoadedWindow], reading: Reading) -> LoadedWindow | None:
    begin = time.perf_counter()
    window = next(windows, None)
    reading.log.waited(time.perf_counter() - begin)
    return window
