"""What a call that changes a collection does, from its arguments to the new manifest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from tqdm.auto import tqdm

from ..._sizes import rows_for
from .._format import Format
from .._inputs.open import name_of, open_input
from .._resources.limit import Memory
from .._schema.survey import survey, survey_held
from .._shuffle.grouping import ordered
from .._shuffle.job import ShuffleJob
from .._shuffle.order import ShuffledOrder
from .._state.manifest import Manifest, dataset_number
from .._state.work import working
from .build import run_local
from .call_identity import call_key, fingerprint, unchanged
from .upload import run_elsewhere, writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._schema.survey import Survey
    from .._state.location import Location
    from .._state.work import Work

    Settle: TypeAlias = Callable[[int], tuple[ShuffleJob, dict[str, Any]]]
    from .request import AddRequest


def add(home: Location, request: AddRequest) -> None:
    """Add the rows of the inputs to the collection."""
    before = [fingerprint(source) for source in request.sources]
    opener = partial(open_input, load_adata=request.load_adata)
    form = request.form

    def look() -> Settle:
        found = survey(request.sources, opener, request.var_subset, request.merge, home.datasets())
        if request.progress:
            _tell_of_join(found)
        rows_per_dataset = rows_for(request.dataset_size, found.bytes_per_row, name="dataset_size")

        def settle(seed: int) -> tuple[ShuffleJob, dict[str, Any]]:
            order = ordered(found, opener, request.groupby, request.shuffle, rows_per_dataset, seed)
            entry = {
                "call": "add_adatas",
                "inputs": [name_of(source) for source in found.sources],
                "n_obs": found.n_obs,
                "seed": seed if request.shuffle else None,
                "groupby": request.groupby,
                "form": form.recorded,
                "rows_per_dataset": rows_per_dataset,
            }
            return ShuffleJob(found, opener, order, rows_per_dataset, form, narrow=True), entry

        return settle

    call = Call(
        call_key(request, before),
        look,
        partial(unchanged, request.sources, before),
        request.seed,
        False,
        request.memory,
        request.client,
        request.progress,
    )
    _run(home, call)


def _tell_of_join(found: Survey) -> None:
    """Say how the variables of inputs that differ become those of the collection."""
    wanted = found.schema.annotations.var.index
    several = {id(one.annotations): one.annotations.var.index for one in found.inputs}.values()
    if any(not index.equals(wanted) for index in several):
        least, most = min(map(len, several)), max(map(len, several))
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        tqdm.write(f"Variables: {each} in each input, {len(wanted):,} in the collection.", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Call:
    """A change to a collection, ready to be carried out.

    Attributes
    ----------
    call_key
        What the call is, so that another run of it can go on from what this one leaves; JSON.
    look
        Looks at the inputs and the collection, once nobody else can change it; returns what gives, for a seed, the job
        and what the collection's history will say of it.
    unchanged
        Raises :class:`StoreError` if an input is another than it was before the first look at it.
    seed
        The seed, where the caller gave one.
    replaces
        Whether the new datasets take the place of those that there are.
    memory, client, progress
        As in :class:`AddRequest`.
    """

    call_key: dict[str, Any]
    look: Callable[[], Settle]
    unchanged: Callable[[], None]
    seed: int | None
    replaces: bool
    memory: Memory
    client: Any | None
    progress: bool


def _run(home: Location, call: Call) -> None:
    """Carry a call out."""
    fresh = int(np.random.default_rng().integers(2**63)) if call.seed is None else call.seed
    if home.folder is None:
        _run_elsewhere(home, call, fresh)
        return
    with working(home.folder) as work:
        home.settle_names()
        manifest = home.manifest()
        if work.was_done(manifest):
            if manifest.history[-1]["call"] == "reshuffle":
                _number_from_0(home, work)
            if work.is_of(call.call_key, call.seed):
                work.clear()
                return
            manifest = home.manifest()
        settle = call.look()
        seed = work.begin(manifest, call.call_key, call.seed)
        if seed is None:
            seed = fresh
            work.start(manifest, call.call_key, seed)
        job, entry = settle(seed)
        names = _names(manifest, job, call.replaces)
        added = run_local(work, job, names, call.memory, call.unchanged, call.client, call.progress)
        kept = {} if call.replaces else manifest.datasets
        home.commit(Manifest(kept | added, [*manifest.history, entry]))
        if call.replaces:
            _number_from_0(home, work)
        work.clear()


def _names(manifest: Manifest, job: ShuffleJob, replaces: bool) -> list[str]:
    """Return names that no dataset has, nor will have when the new ones are numbered from 0 on."""
    first = max((1 + (dataset_number(name) or 0) for name in manifest.datasets), default=0)
    first = max(first, job.n_datasets) if replaces else first
    return [f"dataset_{first + number}" for number in range(job.n_datasets)]


def _number_from_0(home: Location, work: Work) -> None:
    """Give the datasets of the manifest, which took the place of others, the numbers from 0 on.

    Every step leaves a manifest by which the collection reads: first with the names that the datasets have, then with
    those that they are about to have beside them, at last with those alone.
    """
    manifest = home.manifest()
    work.remove_strays(manifest.datasets)
    numbered = {f"dataset_{i}": known | {"was": name} for i, (name, known) in enumerate(manifest.datasets.items())}
    if list(numbered) != list(manifest.datasets):
        home.commit(Manifest(numbered, manifest.history))
        home.settle_names()


def _run_elsewhere(home: Location, call: Call, seed: int) -> None:
    """Carry a call out in a store that is no local folder: nothing to go on from, and the root attributes last."""
    with writing(home):
        manifest = home.manifest()
        job, entry = call.look()(seed)
        home.claim()
        names = _names(manifest, job, replaces=False)
        added = run_elsewhere(home, job, names, call.memory, call.unchanged, call.progress)
        kept = {} if call.replaces else manifest.datasets
        home.commit(Manifest(kept | added, [*manifest.history, entry]))
        for name in set(manifest.datasets) - set(kept):
            del home.group[name]


def reshuffle(home: Location, seed: int | None, memory: Memory, client: Any | None, progress: bool) -> None:
    """Put all rows of the collection in a new order, over all its datasets."""

    def look() -> Settle:
        found = survey_held(home.datasets())
        known: dict[str, Any] = {
            "form": [64, "1GB", "compact"],
            "rows_per_dataset": max(1, *(one.n_obs for one in found.inputs)),
        }
        for entry in home.manifest().history:
            known |= {key: entry[key] for key in known if key in entry}
        form, rows_per_dataset = Format.of_record(known["form"]), int(known["rows_per_dataset"])
        opener = partial(open_input, load_adata=None)

        def settle(seed: int) -> tuple[ShuffleJob, dict[str, Any]]:
            entry = {"call": "reshuffle", "n_obs": found.n_obs, "seed": seed}
            return ShuffleJob(found, opener, ShuffledOrder(seed), rows_per_dataset, form, True), entry

        return settle

    call_key = {"call": "reshuffle", "memory": [memory.held, memory.block, memory.bucket]}
    # Nobody else writes to what is read here.
    _run(home, Call(call_key, look, lambda: None, seed, True, memory, client, progress))
