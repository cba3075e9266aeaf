"""Survey of all inputs, before any work: do they fit together, which names of rows repeat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import zarr

from ..._warn import warn
from ...errors import StoreError
from .._array_format import write_annotations
from .._inputs.annotations import RAW, Annotations
from .._inputs.chosen import HELD
from .._inputs.matrices import MatrixInfo
from .._inputs.open import check_name, open_input
from .._inputs.text import read_within
from .exact import refuse_rounded
from .names import AT_ONCE, hash_names, suffixes
from .overlap import Named, n_shared, require_overlap
from .schema import SOURCE, SparseSchema, describe, settle
from .variables import choose, join_annotations, refuse_ambiguous, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._inputs.columns import ColumnInfo
    from .._inputs.open import Input, Opener, Source
    from .schema import InputInfo, Schema
    from .variables import Merge


_NAMES_BYTES = 64 << 20  # bytes of names in memory at a time


@dataclass(frozen=True, slots=True)
class Survey:
    """Inputs of a conversion, and the schema of its result.

    Attributes
    ----------
    sources
        The inputs that have rows, in order.
    inputs
        Description of each input.
    schema
        Schema of the collection.
    suffixes
        Numbers that make the rows' names unique; None if they are unique.
    n_shared_vars
        Number of variables that all inputs have, and the collection that they are added to.
    """

    sources: list[Source]
    inputs: list[InputInfo]
    schema: Schema
    suffixes: np.ndarray | None
    n_shared_vars: int

    @property
    def n_obs(self) -> int:
        """Number of rows of all inputs."""
        return sum(one.n_obs for one in self.inputs)

    @property
    def bytes_per_row(self) -> float:
        """Average bytes per row in memory, in the dtypes of the inputs."""
        return sum(one.nbytes for one in self.inputs) / max(1, self.n_obs)

    def describe_variables(self) -> str:
        """Return one line: how many variables the inputs have, all have in common, and the collection has."""
        lengths = [len(one.annotations.var) for one in self.inputs]
        least, most = min(lengths), max(lengths)
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        of = "the input" if len(lengths) == 1 else "each input"
        n_vars = len(self.schema.annotations.var)
        return f"Variables: {each} in {of}, {self.n_shared_vars:,} shared by all, {n_vars:,} in the collection."


def survey(
    sources: Sequence[Source],
    open_source: Opener,
    var_subset: Sequence[str] | None,
    merge: Merge,
    datasets: Sequence[Source] = (),
    *,
    warns_of_raw: bool = True,
    min_overlap: float = 0.0,
) -> Survey:
    """Open every input once, and settle the schema of the collection.

    Parameters
    ----------
    sources
        The inputs.
    open_source
        Opens an input.
    var_subset, merge
        As in :meth:`annbatch.DatasetCollection.add_adatas`.
    datasets
        Datasets of the collection so far: new rows get its variables and its elements.
    warns_of_raw
        Whether to warn where ``raw`` is dropped.
    min_overlap
        As in :meth:`annbatch.DatasetCollection.add_adatas`.

    Raises
    ------
    FileNotFoundError, StoreError, TypeError, ValueError
        If an input is missing, not AnnData, has damaged metadata, or does not fit the others; the text names it.
    """
    inputs: list[InputInfo] = []
    hashes: list[np.ndarray] = []
    known: list[Annotations] = []
    dropped: dict[str, str] = {}  # and the first input that has it
    n_raw = 0
    for source in sources:
        with open_source(source) as opened:
            annotations = opened.annotations()
            same = next((one for one in known if annotations.equals(one)), None)
            if same is None:
                known.append(annotations)
            inputs.append(describe(opened, same or annotations))
            hashes += [hash_names(names) for _, names in _in_pieces(opened)]
            dropped = dict.fromkeys(opened.dropped, opened.name) | dropped
            n_raw += "raw" in opened.dropped
    raw = dropped.pop("raw", None)
    layers = [path for path in dropped if path.startswith("layers/")]
    if layers:
        warn(f"Dropping {', '.join(layers)}: layers have the variables of X, not of raw.")
    if graphs := [path for path in dropped if path.startswith("obsm/")]:
        warn(f"Dropping {', '.join(graphs)}: their columns are rows of another collection, not of the inputs.")
    if pairwise := [path for path in dropped if path.startswith("obsp/")]:
        example = pairwise[0].removeprefix("obsp/")
        warn(f"Dropping {', '.join(pairwise)}: pairwise matrices are kept if they are named, as by `obsp='{example}'`.")
    if raw is not None and warns_of_raw:
        warn(
            f"Dropping raw of {n_raw} of {len(sources)} inputs, as of {raw}: `raw='use'` converts it in place of X, "
            "`raw='keep'` stores it beside X, and `raw='drop'` ends this warning.",
        )
    with_rows = [i for i, one in enumerate(inputs) if one.n_obs] or list(range(len(inputs)))
    kept = [inputs[i] for i in with_rows]
    if datasets:
        described, earlier = _held(datasets)
        held, n_held = described[0], sum(one.n_obs for one in described)
        _require_overlap(kept, min_overlap, held)
        for one in kept:
            refuse_ambiguous(one.annotations, one.name, held.annotations, held.name)
        _warn_of_extra(kept, held.annotations)
        kept = _only_what_is_held(kept, held)
        obs = held.elements["obs"]
        with_source = isinstance(obs, dict) and SOURCE in obs  # not where another program made the collection
        names_of_sources = [one.name for one in kept] if with_source else None
        rows = n_held, n_held + sum(one.n_obs for one in kept)
        schema = settle([*described, *kept], held.annotations, sources=names_of_sources, rows=rows)
        _refuse_sparse_beside_dense(schema, held, kept)
        refuse_rounded(schema, described, datasets)
    else:
        kept = _raw_of_all_or_none(kept)
        _require_overlap(kept, min_overlap, var_subset=var_subset)
        earlier = np.empty(0, np.uint64)
        # Chosen first: columns that differ in other variables still agree.
        chosen = {id(one.annotations): choose(one.annotations, var_subset) for one in kept}
        joined = join_annotations([chosen[id(one.annotations)] for one in kept], [one.name for one in kept], merge)
        rows = 0, sum(one.n_obs for one in kept)
        schema = settle(kept, select(joined, var_subset), sources=[one.name for one in kept], rows=rows)
        _check_writable(schema.annotations, kept)
    _warn_of_replaced(kept)
    kept_sources = [sources[i] for i in with_rows]
    names = _Names(kept_sources, open_source, np.cumsum([0, *(one.n_obs for one in kept)]))
    numbers = suffixes(np.concatenate([earlier, *hashes]), names, len(earlier))
    indexes = {id(one.annotations): one.annotations.var.index for one in ([held, *kept] if datasets else kept)}
    return Survey(kept_sources, kept, schema, numbers, n_shared(list(indexes.values())))


def survey_held(datasets: Sequence[Source]) -> Survey:
    """Survey a collection's datasets, to convert them again; rows keep their names and sources."""
    inputs: list[InputInfo] = []
    for dataset in datasets:
        with open_input(dataset, None, HELD) as opened:
            annotations = opened.annotations()
            inputs.append(describe(opened, inputs[0].annotations if inputs else annotations))
            if opened.dropped:
                raise StoreError(f"{opened.name} has {', '.join(opened.dropped)}, which shuffling it again would lose.")
    n_vars, n_obs = len(inputs[0].annotations.var), sum(one.n_obs for one in inputs)
    for one in inputs:
        for path in one.graphs:
            shape = one.elements[path].shape  # type: ignore[union-attr]  # a matrix
            if shape[1] > n_obs:
                raise StoreError(f"`{path}` of {one.name} must have a column per row, {n_obs} at most, got {shape[1]}.")
    schema = settle(inputs, inputs[0].annotations, rows=(0, n_obs))
    return Survey(list(datasets), inputs, schema, None, n_vars)


def _require_overlap(
    inputs: Sequence[InputInfo],
    min_overlap: float,
    held: InputInfo | None = None,
    var_subset: Sequence[str] | None = None,
) -> None:
    """Raise if variables of inputs, or those of their ``raw``, do not match."""
    of: dict[int, InputInfo] = {}
    for one in inputs:
        of.setdefault(id(one.annotations), one)
    distinct = of.values()
    against = None if held is None else Named.by(held.name, held.annotations.var)
    if var_subset is not None:
        against = Named.by("`var_subset`", pd.DataFrame(index=pd.Index(var_subset)))
    require_overlap([Named.by(one.name, one.annotations.var) for one in distinct], min_overlap, against)
    of_held = None if held is None else held.annotations.raw
    if held is None or of_held is not None:
        raws = [(f"raw of {one.name}", one.annotations.raw) for one in distinct if one.annotations.raw is not None]
        against = None if of_held is None or held is None else Named.by(f"raw of {held.name}", of_held.var)
        parts = [Named.by(name, raw.var) for name, raw in raws]
        require_overlap(parts, min_overlap, against, what="variables of raw")


def _held(datasets: Sequence[Source]) -> tuple[list[InputInfo], np.ndarray]:
    """Describe the collection's datasets, which have the same variables; hash the names of their rows, too."""
    described: list[InputInfo] = []
    hashes = []
    for dataset in datasets:
        with open_input(dataset, None, HELD) as opened:
            described.append(describe(opened, described[0].annotations if described else opened.annotations()))
            hashes += [hash_names(names) for _, names in _in_pieces(opened)]
    return described, np.concatenate([np.empty(0, np.uint64), *hashes])


def _raw_of_all_or_none(inputs: list[InputInfo]) -> list[InputInfo]:
    """Return the inputs without ``raw`` unless all of them have it: genes that were not measured are no zeros."""
    lacking = [one.name for one in inputs if RAW not in one.elements]
    if not 0 < len(lacking) < len(inputs):
        return inputs
    warn(
        f"Dropping raw of {len(inputs) - len(lacking)} inputs, as {len(lacking)} others have none: {lacking[0]}.",
    )
    without = {id(one.annotations): replace(one.annotations, raw=None) for one in inputs}
    return [
        replace(
            one,
            elements={path: element for path, element in one.elements.items() if path != RAW},
            annotations=without[id(one.annotations)],
        )
        for one in inputs
    ]


def _only_what_is_held(inputs: Sequence[InputInfo], held: InputInfo) -> list[InputInfo]:
    """Return the inputs without the elements and columns that the collection lacks: its datasets are read together."""
    extra: dict[str, None] = {}
    described = []
    for one in inputs:
        elements: dict[str, MatrixInfo | dict[str, ColumnInfo]] = {}
        for path, element in one.elements.items():
            known = held.elements.get(path)
            if known is None and path != "X":  # of which `settle` says what to do
                extra[path] = None
            elif isinstance(element, dict) and isinstance(known, dict):
                elements[path] = {name: column for name, column in element.items() if name in known}
                extra |= dict.fromkeys(f"{path}[{name!r}]" for name in element if name not in known)
            else:
                elements[path] = element
        described.append(replace(one, elements=elements))
    if extra:
        warn(
            f"Dropping what the collection does not have: {', '.join(extra)}. To keep it, convert all inputs together.",
        )
    return described


def _refuse_sparse_beside_dense(schema: Schema, held: InputInfo, inputs: Sequence[InputInfo]) -> None:
    for path, element in schema.elements.items():
        matrix = held.elements[path]
        if isinstance(matrix, MatrixInfo) and isinstance(element, SparseSchema) and not matrix.sparse:
            found = ((one.name, one.elements.get(path)) for one in inputs)
            name = next(name for name, other in found if isinstance(other, MatrixInfo) and other.sparse)
            raise StoreError(
                f"`{path}` must be dense as in the collection, and is sparse in {name}: make it dense with a "
                "`load_adata`, as by `adata.X = adata.X.toarray()`, or convert all inputs together."
            )


def _check_writable(annotations: Annotations, inputs: Sequence[InputInfo]) -> None:
    """Raise if annotations of the variables cannot be written, for a name or a type, before any row is read."""
    for one in inputs:
        for column in annotations.var.columns.intersection(one.annotations.var.columns):
            check_name(column, f"Column {column!r} of `var` of {one.name}")
    if _why_unwritable(annotations) is None:
        return
    for name, found in (*((one.name, one.annotations) for one in inputs), ("all inputs together", annotations)):
        if (problem := _why_unwritable(found)) is not None:
            key, error = problem
            raise StoreError(
                f"`{key}` of {name} cannot be written: rename, convert or remove it with `load_adata`. {error}"
            ) from error


def _why_unwritable(annotations: Annotations) -> tuple[str, Exception] | None:
    group = zarr.group(zarr.storage.MemoryStore())
    parts = {key: getattr(annotations, key) for key in ("var", "varm", "varp", "uns")}
    if annotations.raw is not None:
        group.create_group("raw")
        parts |= {"raw/var": annotations.raw.var, "raw/varm": annotations.raw.varm}
    for key, part in parts.items():
        try:
            write_annotations(group, key, part)
        except Exception as error:
            return key, error
    return None


def _warn_of_replaced(inputs: Sequence[InputInfo]) -> None:
    """Warn of a column of ``obs`` that gives way to the name of the input."""
    names = [one.name for one in inputs if SOURCE in dict(one.elements)["obs"]]  # type: ignore[operator]  # a table
    if names:
        warn(
            f"Column {SOURCE!r} of `obs` is replaced by the name of the input in {', '.join(names)}: rename it with "
            "`load_adata` to keep it.",
        )


def _warn_of_extra(inputs: Sequence[InputInfo], held: Annotations) -> None:
    distinct = {id(one.annotations): one.annotations for one in inputs}.values()
    for path, what in (("X", "variables"), (RAW, "variables of `raw`")):
        indexes = [one.names_for(path) for one in distinct]
        names = {name for index in indexes if index is not None for name in index}
        known = held.names_for(path)
        extra = names.difference(known) if known is not None else ()
        if extra:
            warn(
                f"Dropping {len(extra)} {what} of the inputs that the collection does not have: {sorted(extra)[:10]}.",
            )


def _in_pieces(opened: Input) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the names of all rows, as many at a time as fit in memory, each time with the number of the first row."""
    start = 0
    while start < opened.n_obs:
        names, _ = read_within(opened.obs_names, start, min(start + AT_ONCE, opened.n_obs), _NAMES_BYTES)
        yield start, names
        start += len(names)


class _Names:
    """Reads the names of given rows from the inputs, in pieces."""

    def __init__(self, sources: Sequence[Source], open_source: Opener, edges: np.ndarray) -> None:
        self._sources, self._open, self._edges = sources, open_source, edges

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        for number, source in enumerate(self._sources):
            first, last = int(self._edges[number]), int(self._edges[number + 1])
            mine = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
            if len(mine):
                with self._open(source) as opened:
                    yield from _names(opened, mine)


def _names(opened: Input, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start, names in _in_pieces(opened):
        yield names[rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(names))] - start]
