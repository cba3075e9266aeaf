"""Collections as h5ad files in a folder, shuffled in the same way, for programs that read no zarr."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from scipy import sparse

from ..._format.attributes import FIRST_ROW_ATTRIBUTE
from ..._progress import progress_bar, tell
from ..._sizes import rows_for
from ...errors import StoreError, reading
from .._array_format import quiet_writing
from .._blocks import SparseRows, Stack
from .._inputs.annotations import RAW
from .._inputs.open import open_input
from .._resources.pages import RowMemory
from .._schema.schema import DenseSchema, SparseSchema, TableSchema
from .._schema.survey import survey
from .._shuffle.grouping import check_groupby, ordered
from .._shuffle.job import ShuffleJob
from .._shuffle.renumber import Renumbering
from .._state.manifest import ATTRIBUTE, dataset_number, files_of, flush
from .._state.work import working
from .._writing.tables import table_of
from .build import shuffle_rows
from .call_identity import call_key, fingerprint, unchanged
from .repeats import check_places, describe_inputs, new_inputs

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from .._shuffle.in_memory import ShuffledRows
    from .._state.work import Work
    from .request import AddRequest


def add_h5ad(folder: Path, request: AddRequest) -> None:
    """Add the rows of the inputs to a folder of h5ad files, which appear once all of them are written.

    Values keep their dtypes. One dataset at a time is in memory, whatever the memory limit. A call that is killed
    before all files are written leaves the folder as it was, and resumes when it is made again; if it is killed while
    the files appear, the next call moves the remaining ones first.
    """
    check_places(request, folder)
    before = [fingerprint(source) for source in request.sources]
    key = call_key(request, before) | {"h5ad_compressor": request.h5ad_compressor}
    with working(folder) as work:
        if not (work.publish_files() and work.is_of(key, request.seed)):
            _add(work, request, before, key)
        work.clear()


def _history(files: list[Path]) -> list[dict[str, Any]]:
    """Return what each file records of the call that wrote it; nothing if another program did."""
    history = []
    for path in files:
        with reading(str(path)), h5py.File(path, "r") as file:
            history.append(dict(json.loads(file.attrs.get(ATTRIBUTE, "{}"))))
    return history


def _add(work: Work, request: AddRequest, before: list[list[Any]], key: dict[str, Any]) -> None:
    opener = partial(open_input, load_adata=request.load_adata, choice=request.choice)
    present = files_of(work.root)
    sources, contents = new_inputs(request, _history(present), str(work.root))
    if not sources:
        return
    found = survey(
        sources,
        opener,
        request.var_subset,
        request.merge,
        [str(path) for path in present],
        warns_of_raw=request.choice.raw is None,
        min_overlap=request.min_overlap,
    )
    check_groupby(found, request.groupby)
    tell(found.describe_variables(), progress=request.progress)
    rows_per_dataset = rows_for(request.dataset_size, found.bytes_per_row, name="dataset_size")
    seed = work.resume(len(present), key, request.seed)
    if seed is None:
        seed = int(np.random.default_rng().integers(2**63)) if request.seed is None else request.seed
        work.start(len(present), key, seed)
    order = ordered(found, opener, request.groupby, request.shuffle, rows_per_dataset, seed)
    numbers = Renumbering.of(order, found.schema, found.n_obs)
    job = ShuffleJob(found, opener, order, rows_per_dataset, request.form, False, numbers)
    first = 1 + max((dataset_number(path.stem) or 0 for path in present), default=-1)
    names = [f"dataset_{first + number}.h5ad" for number in range(job.n_datasets)]
    missing = [number for number, name in enumerate(names) if not (work.folder / name).exists()]
    if missing:
        shuffled = shuffle_rows(job, request.memory, work.root, work.spill, None, request.progress)
    record, partial_file = json.dumps(describe_inputs(found, sources, contents)), work.folder / "partial.h5ad"
    with progress_bar(total=len(missing), desc="Writing", unit=" files", progress=request.progress) as bar:
        for number in missing:
            adata = _dataset(job, shuffled, number)
            try:
                with quiet_writing():
                    adata.write_h5ad(partial_file, compression=request.h5ad_compressor)
            except ValueError as error:  # such as of zeros in strings
                notes = " ".join(getattr(error, "__notes__", ()))
                raise StoreError(f"{work.root / names[number]} cannot hold these rows: {error}. {notes}") from error
            with h5py.File(partial_file, "r+") as file:
                file.attrs[ATTRIBUTE] = record
                for path, element in found.schema.elements.items():
                    if isinstance(element, SparseSchema) and element.first_row is not None:
                        file[path].attrs[FIRST_ROW_ATTRIBUTE] = element.first_row + job.rows_of(number)[0]
            flush(partial_file)
            partial_file.rename(work.folder / names[number])
            bar.update()
    unchanged(request.sources, before)
    work.note_files(key, seed, names)
    work.publish_files()


def _dataset(job: ShuffleJob, shuffled: ShuffledRows, number: int) -> AnnData:
    from anndata import AnnData

    schema = job.survey.schema
    stack = Stack(list(shuffled.rows(*job.rows_of(number))))
    rows = stack.gather(np.arange(len(stack)), RowMemory())
    columns = {key: part.values for key, part in rows.items() if not isinstance(part, SparseRows)}
    annotations = schema.annotations
    with quiet_writing():
        adata = AnnData(obs=table_of(schema, "obs", columns), var=annotations.var.copy(), uns=annotations.uns)
        adata.varm.update(annotations.varm)
        adata.varp.update(annotations.varp)
        for path, element in schema.elements.items():
            part_of, _, key = path.partition("/")
            if isinstance(element, TableSchema):
                if path != "obs":
                    adata.obsm[key] = table_of(schema, path, columns)
                continue
            part = rows.get(path)
            if part is None:
                continue
            value = part.values if not isinstance(part, SparseRows) else _csr(part, element)
            if path == "X":
                adata.X = value
            elif path == RAW and annotations.raw is not None:
                adata.raw = AnnData(value, obs=adata.obs[[]], var=annotations.raw.var, varm=annotations.raw.varm)
            else:
                getattr(adata, part_of)[key] = value
    return adata


def _csr(rows: SparseRows, element: SparseSchema | DenseSchema) -> sparse.csr_matrix:
    assert isinstance(element, SparseSchema)
    return sparse.csr_matrix((rows.data, rows.indices, rows.indptr), shape=(len(rows), element.n_columns))
