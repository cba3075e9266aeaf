"""Graphs of rows: matrices of rows by rows, whose columns are renumbered as rows are shuffled.

An input has them in ``obsp``. A dataset of a collection cannot: its ``obsp`` has a column per row of the dataset, and a
row may relate to one of another dataset. There they are in ``obsm``, with a column per row of the collection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..._arguments import unknown_names
from ...errors import StoreError
from .matrices import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .input import Input


def choose_graphs(opened: Input, names: Sequence[str], *, as_stored: bool) -> None:
    """Make graphs of an input its matrices ``obsm/...``, in place; the others are dropped.

    Parameters
    ----------
    opened
        The input.
    names
        Names in ``obsp``.
    as_stored
        Whether to keep graphs that are in ``obsm`` already, as they are.
    """
    if not as_stored:
        for path in sorted(opened.graphs):
            del opened.matrices[path]
            opened.dropped.append(path)
        opened.graphs = set()
    unknown = [name for name in names if name not in opened.pairwise]
    if unknown:
        raise unknown_names("obsp", f"matrices in obsp of {opened.name}", unknown, opened.pairwise)
    for name in names:
        path, where = f"obsm/{name}", f"`obsp/{name}` of {opened.name}"
        if path in opened.matrices or path in opened.tables:
            raise StoreError(
                f"{where} must have a name that `obsm` does not have, where it is stored: rename it with `load_adata`."
            )
        reader = opened.pairwise[name]()
        shape, dtype = reader.info.shape, reader.info.dtype
        if dtype.char not in NUMBERS or shape != (opened.n_obs, opened.n_obs):
            raise StoreError(
                f"{where} must be a matrix of numbers with {opened.n_obs} rows and columns, one per row of `obs`, got "
                f"{dtype} of shape {shape}."
            )
        opened.matrices[path] = reader
        opened.graphs.add(path)
    opened.dropped += [f"obsp/{name}" for name in opened.pairwise if name not in names]
