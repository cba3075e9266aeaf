"""A call that changes a collection, from its arguments to the new manifest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..._progress import tell
from ..._sizes import rows_for
from .._array_format import Format
from .._inputs.chosen import HELD
from .._inputs.open import open_input
from .._resources.limit import Memory
from .._schema.survey import survey, survey_held
from .._shuffle.grouping import check_groupby, ordered
from .._shuffle.job import ShuffleJob
from .._shuffle.order import ShuffledOrder
from .._shuffle.renumber import Renumbering
from .._state.manifest import Manifest, dataset_number
from .._state.work import working
from .build import run_local
from .call_identity import call_key, fingerprint, unchanged
from .repeats import check_places, describe_inputs, new_inputs
from .upload import note_datasets, remove_noted, upload_datasets, working_on_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._state.location import Location
    from .._state.work import Work
    from .request import AddRequest

    Plan: TypeAlias = Callable[[int], tuple[ShuffleJob, dict[str, Any]]]


def add(location: Location, request: AddRequest) -> None:
    """Add the rows of the inputs to the collection."""
    check_places(request, location.folder)
    before = [fingerprint(source) for source in request.sources]
    opener = partial(open_input, load_adata=request.load_adata, choice=request.choice)
    form = request.form

    def examine() -> Plan | None:
        history = [] if request.overwrite else location.manifest().since_overwritten()
        sources, contents = new_inputs(request, history, str(location))
        if not sources:
            return None
        found = survey(
            sources,
            opener,
            request.var_subset,
            request.merge,
            () if request.overwrite else location.datasets(),
            warns_of_raw=request.choice.raw is None,
            min_overlap=request.min_overlap,
        )
        check_groupby(found, request.groupby)
        tell(found.describe_variables(), progress=request.progress or request.dry_run)
        rows_per_dataset = rows_for(request.dataset_size, found.bytes_per_row, name="dataset_size")

        def plan(seed: int) -> tuple[ShuffleJob, dict[str, Any]]:
            order = ordered(found, opener, request.groupby, request.shuffle, rows_per_dataset, seed)
            entry = {
                "call": "add_adatas",
                **describe_inputs(found, sources, contents),
                "n_obs": found.n_obs,
                "seed": seed if request.shuffle else None,
                "groupby": request.groupby,
                "form": form.recorded,
                "rows_per_dataset": rows_per_dataset,
                "narrow": request.narrow,
                **({"overwrites": True} if request.overwrite else {}),
            }
            numbers = Renumbering.of(order, found.schema, found.n_obs)
            return ShuffleJob(found, opener, order, rows_per_dataset, form, request.narrow, numbers), entry

        if request.dry_run:
            shape = f"{found.n_obs:,} rows x {len(found.schema.annotations.var):,} variables"
            elements = ", ".join(found.schema.elements)
            tell(f"Would add {shape} of {len(sources)} inputs: {elements}.", progress=True)
        return plan

    if request.dry_run:
        examine()
        return
    call = Call(
        call_key(request, before),
        examine,
        partial(unchanged, request.sources, before),
        request.seed,
        request.overwrite,
        request.memory,
        request.client,
        request.progress,
    )
    _run(location, call)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that changes a collection.

    Attributes
    ----------
    call_key
        Identity of the call, by which a later run of it resumes; JSON.
    examine
        Surveys inputs and collection, once the collection is locked. Returns a function that returns, for a seed, the
        job and its entry in the collection's history; None if nothing is to be done.
    unchanged
        Raises :class:`StoreError` if an input has changed since the call began.
    seed
        Seed of the caller, if any.
    replaces
        Whether the new datasets replace the present ones.
    memory, client, progress
        As in :class:`AddRequest`.
    """

    call_key: dict[str, Any]
    examine: Callable[[], Plan | None]
    unchanged: Callable[[], None]
    seed: int | None
    replaces: bool
    memory: Memory
    client: Any | None
    progress: bool


def _run(location: Location, call: Call) -> None:
    """Carry out a call."""
    fresh = int(np.random.default_rng().integers(2**63)) if call.seed is None else call.seed
    local = location.folder is not None
    with working(location.folder) if location.folder is not None else working_on_store(location) as work:
        manifest = location.manifest()
        if work.was_carried_out(manifest):
            _remove_others(location, work, manifest.datasets)
            if work.is_of(call.call_key, call.seed):
                work.clear()
                return
        plan = call.examine()
        if plan is None:
            work.clear()
            return
        if local:
            work.refuse_strays(manifest.datasets)
        n_calls = len(manifest.history)
        seed = work.resume(n_calls, call.call_key, call.seed)
        if seed is None:
            seed = fresh
            _remove_others(location, work, manifest.datasets)
            work.start(n_calls, call.call_key, seed)
        job, entry = plan(seed)
        names = _new_names(manifest, job)
        if local:
            added = run_local(work, job, names, call.memory, call.unchanged, call.client, call.progress)
        else:
            note_datasets(location, [*manifest.datasets, *names])
            added = upload_datasets(location, work, job, names, call.memory, call.unchanged, call.progress)
        kept = {} if call.replaces else manifest.datasets
        location.commit(Manifest(kept | added, [*manifest.history, entry]))
        _remove_others(location, work, kept | added)
        work.clear()


def _remove_others(location: Location, work: Work, keep: Iterable[str]) -> None:
    """Remove the datasets of this call, or of a former one, that do not belong to the collection."""
    if location.folder is not None:
        work.remove_strays(keep)
    else:
        remove_noted(location, keep)


def _new_names(manifest: Manifest, job: ShuffleJob) -> list[str]:
    """Return names for new datasets: none that was in use before, so that a reader of the former ones cannot mix both.

    Datasets are only replaced by later ones, so the largest number is always still in use.
    """
    first = max((1 + (dataset_number(name) or 0) for name in manifest.datasets), default=0)
    return [f"dataset_{first + number}" for number in range(job.n_datasets)]


def reshuffle(location: Location, seed: int | None, memory: Memory, client: Any | None, progress: bool) -> None:
    """Put all rows of the collection in a new order, across its datasets."""

    def examine() -> Plan:
        found = survey_held(location.datasets())
        known: dict[str, Any] = {
            "form": [64, "1GB", "compact"],
            "rows_per_dataset": max(1, *(one.n_obs for one in found.inputs)),
            "narrow": True,
        }
        for entry in location.manifest().history:
            known |= {key: entry[key] for key in known if key in entry}
        form, rows_per_dataset = Format.of_record(known["form"]), int(known["rows_per_dataset"])
        opener = partial(open_input, load_adata=None, choice=HELD)

        def plan(seed: int) -> tuple[ShuffleJob, dict[str, Any]]:
            entry = {"call": "reshuffle", "n_obs": found.n_obs, "seed": seed}
            order, narrow = ShuffledOrder(seed), bool(known["narrow"])
            numbers = Renumbering.of(order, found.schema, found.n_obs, across=True)
            return ShuffleJob(found, opener, order, rows_per_dataset, form, narrow, numbers), entry

        return plan

    call_key = {"call": "reshuffle", "memory": [memory.held, memory.block, memory.bucket]}
    # The inputs are the collection's own datasets, and it is locked: nothing can change them.
    _run(location, Call(call_key, examine, lambda: None, seed, True, memory, client, progress))
