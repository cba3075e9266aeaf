"""What a call that changes a collection does, from its arguments to the new manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ._build import Memory, build, fingerprint, run_local, shuffle_rows
from ._inputs import name_of, open_input
from ._job import Job
from ._manifest import Manifest, dataset_number
from ._order import Kept, Shuffled
from ._sizes import rows_for
from ._survey import survey
from ._work import working
from ._write import Place

if TYPE_CHECKING:
    from ._inputs import LoadAdata, Source
    from ._join import Merge
    from ._manifest import Home
    from ._order import Order
    from ._survey import Survey
    from ._write import Format


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of :meth:`annbatch.DatasetCollection.add_adatas`, checked one by one."""

    sources: list[Source]
    load_adata: LoadAdata | None
    groupby: list[str] | None
    var_subset: list[str] | None
    form: Format
    h5ad_compressor: str | None
    dataset_size: int | str
    shuffle: bool
    seed: int | None
    merge: Merge
    memory: Memory
    client: Any | None
    progress: bool

    def __post_init__(self) -> None:
        rows_for(self.dataset_size, 1, "dataset_size")


def add(home: Home, request: Request) -> None:
    """Add the rows of the inputs to the collection."""
    before = [fingerprint(source) for source in request.sources]
    opener = partial(open_input, load_adata=request.load_adata)
    datasets = [home.group[name] for name in home.dataset_names()]
    found = survey(request.sources, opener, request.var_subset, request.merge, datasets)
    manifest = home.manifest()
    first = 1 + max((dataset_number(name) or 0 for name in manifest.datasets), default=-1)
    fresh = int(np.random.default_rng().integers(2**63)) if request.seed is None else request.seed
    form = request.form
    call = {
        "call": "add_adatas",
        "inputs": before,
        "load_adata": getattr(request.load_adata, "__qualname__", str(type(request.load_adata))),
        "groupby": request.groupby,
        "var_subset": request.var_subset,
        "form": [form.n_obs_per_chunk, form.shard_size, form.layout, str(form.compressors)],
        "dataset_size": request.dataset_size,
        "shuffle": request.shuffle,
        "merge": request.merge,
        "memory": [request.memory.held, request.memory.block, request.memory.bucket],
        "datasets": list(manifest.datasets),
    }
    rows_per_dataset = rows_for(request.dataset_size, found.bytes_per_row, "dataset_size")

    def settle(seed: int) -> tuple[Job, dict[str, Any]]:
        order = _order(found, opener, request, rows_per_dataset, seed)
        job = Job(found, opener, order, rows_per_dataset, form, narrow=True)
        entry = {
            "call": "add_adatas",
            "inputs": [name_of(source) for source in found.sources],
            "n_obs": found.n_obs,
            "seed": seed if request.shuffle else None,
            "groupby": request.groupby,
        }
        return job, entry

    _run(home, request, call, fresh, settle, manifest, first)


def _order(found: Survey, opener: Any, request: Request, rows_per_dataset: int, seed: int) -> Order:
    order: Order = Shuffled(seed) if request.shuffle else Kept(max(1, found.n_obs))
    if request.groupby is None:
        return order
    from ._group import grouped

    return grouped(found, opener, request.groupby, order, rows_per_dataset)


def _run(
    home: Home, request: Any, call: dict[str, Any], fresh: int, settle: Any, manifest: Manifest, first: int
) -> None:
    if home.folder is None:
        job, entry = settle(fresh)
        names = [f"dataset_{first + number}" for number in range(job.n_datasets)]
        shuffled = shuffle_rows(job, request.memory, None, request.progress)
        group = home.group

        def place(number: int) -> Place:
            return Place(group.create_group(names[number], overwrite=True), None)

        build(job, shuffled, place, lambda number, to: None, lambda number: False, request.progress)
        added = {}
        for number, name in enumerate(names):
            start, stop = job.rows_of(number)
            added[name] = {"n_obs": stop - start}
        home.commit(Manifest(manifest.datasets | added, [*manifest.history, entry]))
        return
    with working(home.folder) as work:
        home.settle_names()
        seed = work.begin(call, request.seed)
        if seed is None:
            seed = fresh
            work.start(call, seed, set(manifest.datasets))
        job, entry = settle(seed)
        names = [f"dataset_{first + number}" for number in range(job.n_datasets)]
        before = [fingerprint(source) for source in job.survey.sources]
        added = run_local(work, job, names, request.memory, before, request.progress)
        home.commit(Manifest(manifest.datasets | added, [*manifest.history, entry]))
        work.remove()


def reshuffle(home: Home, seed: int | None, memory: Memory, client: Any | None, progress: bool) -> None:
    """Put all rows of the collection in a new order, over all its datasets."""
    raise NotImplementedError
