"""Variables of a collection: which, in which order, and their annotations."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from ..._warn import ignore_warnings, warn
from .._inputs.annotations import Annotations, storable

if TYPE_CHECKING:
    from collections.abc import Sequence

MergeBy: TypeAlias = Literal["same", "unique", "first", "only"]
Merge: TypeAlias = MergeBy | None


def join_annotations(parts: Sequence[Annotations], names: Sequence[str], merge: Merge) -> Annotations:
    """Return the annotations of all inputs' variables: an outer join, in the order of first appearance.

    Those of ``raw`` are joined where all inputs have one, in the order in which :func:`anndata.concat` joins them.

    Parameters
    ----------
    parts
        One per input; inputs may share one.
    names
        The inputs' names, for errors.
    merge
        How differing columns of ``var``, and entries of ``varm``, ``varp`` and ``uns``, are merged: as in
        :func:`anndata.concat`. A ``var`` that all inputs share is kept whole.

    Raises
    ------
    ValueError
        If inputs have different variables and one repeats a name, so that the join would be ambiguous.
    """
    first = parts[0]
    if all(part is first for part in parts):
        return first
    raws = [part.raw for part in parts if part.raw is not None]
    raw = _join(raws, [f"`raw` of {name}" for name in names], merge) if len(raws) == len(parts) else None
    return replace(_join(parts, names, merge, by_appearance=True), raw=raw)


def _join(
    parts: Sequence[Annotations], names: Sequence[str], merge: Merge, *, by_appearance: bool = False
) -> Annotations:
    first = parts[0]
    indexes = {id(part): part.var.index for part in parts}
    if all(index.equals(first.var.index) for index in indexes.values()):
        if all(part is first or part.var.equals(first.var) for part in parts):
            merged = _merge(parts, merge)  # for varm, varp and uns
            return Annotations(first.var, merged.varm, merged.varp, merged.uns)
        # By position, so that names may repeat.
        numbers = pd.Index([str(i) for i in range(len(first.var))])
        merged = _merge([part.renamed(numbers) for part in parts], merge)
        return merged.take(merged.var.index.get_indexer(numbers)).renamed(first.var.index)
    for part, name in zip(parts, names, strict=True):
        _refuse_repeats(part.var.index, name)
    merged = _merge(parts, merge)
    if not by_appearance:
        return merged
    order = pd.Index(list(dict.fromkeys(name for index in indexes.values() for name in index)))
    return merged.take(merged.var.index.get_indexer(order))


def refuse_ambiguous(annotations: Annotations, name: str, collection: Annotations, of: str) -> None:
    """Raise if variables of an input cannot be matched to those of the collection that it is added to.

    Raises
    ------
    ValueError
        If a name that both have repeats in one of them, and their indexes differ.
    """
    if annotations.raw is not None and collection.raw is not None:
        refuse_ambiguous(annotations.raw, f"`raw` of {name}", collection.raw, f"`raw` of {of}")
    index, other = annotations.var.index, collection.var.index
    if not index.equals(other):
        _refuse_repeats(index[index.isin(other)], name)
        _refuse_repeats(other[other.isin(index)], of)


def _refuse_repeats(index: pd.Index, name: str) -> None:
    if index.is_unique:
        return
    repeated = list(dict.fromkeys(index[index.duplicated()]))
    shown = ", ".join(map(repr, repeated[:10])) + (", ..." if len(repeated) > 10 else "")
    raise ValueError(
        f"Inputs with different variables are joined by name, and their names must not repeat, got {len(repeated)} "
        f"repeated in {name}: {shown}. `var_names='unique'` numbers the repeats."
    )


def _merge(parts: Sequence[Annotations], merge: Merge) -> Annotations:
    import anndata as ad

    with ignore_warnings(""):  # about repeated names, which were checked
        objects = []
        for part in parts:
            adata = ad.AnnData(obs=pd.DataFrame(index=pd.Index([], dtype=str)), var=part.var.copy(), uns=part.uns)
            adata.varm.update(part.varm)
            adata.varp.update(part.varp)
            objects.append(adata)
        joined = ad.concat(objects, join="outer", merge=merge, uns_merge=merge)
    varm = storable(dict(joined.varm), "`varm` of all inputs together")
    return Annotations(storable(joined.var, "`var` of all inputs together"), varm, dict(joined.varp), dict(joined.uns))


def choose(annotations: Annotations, var_subset: Sequence[str] | None) -> Annotations:
    """Return an input's annotations of those variables of ``var_subset`` that it has, in its own order."""
    if var_subset is None:
        return annotations
    return annotations.take(np.flatnonzero(annotations.var.index.isin(pd.Index(var_subset))))


def select(annotations: Annotations, var_subset: Sequence[str] | None) -> Annotations:
    """Return the annotations of ``var_subset``, in its order.

    Raises
    ------
    ValueError
        If a requested name repeats in ``var``.

    Warns
    -----
    UserWarning
        If no input has a requested name; it is left out.
    """
    if var_subset is None:
        return annotations
    selected = pd.Index(list(dict.fromkeys(var_subset)))
    index = annotations.var.index
    repeated = selected.intersection(index[index.duplicated()])
    if len(repeated):
        raise ValueError(
            f"`var_subset` must name unique variables, got names that repeat in `var`: {list(repeated[:10])}."
        )
    positions = index.get_indexer(selected) if index.is_unique else index.get_indexer_for(selected)
    unknown = selected[positions < 0]
    if len(unknown):
        warn(
            f"Dropping {len(unknown)} variables of `var_subset` that no input has: {list(unknown[:10])}.",
        )
    return annotations.take(positions[positions >= 0])


def columns_of(annotations: Annotations, collection: Annotations, path: str) -> np.ndarray | None:
    """Return the collection's column for each column of an input's element, -1 for those that it does not have.

    Returns
    -------
    numpy.ndarray or None
        ``(n_columns,)`` int64; None if both have the same columns in the same order.
    """
    index, names = annotations.names_for(path), collection.names_for(path)
    if index is None or names is None or index.equals(names):
        return None
    return np.asarray(names.get_indexer_for(index), dtype=np.int64)
