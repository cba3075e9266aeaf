"""The part of an input that is converted: another matrix as X, unique variables, some columns of ``obs``, graphs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ..._arguments import check_choice, did_you_mean, in_words, unknown_names
from ...errors import StoreError
from .annotations import RAW
from .graphs import choose_graphs

if TYPE_CHECKING:
    from .annotations import Annotations
    from .input import Input


Raw: TypeAlias = Literal["use", "keep", "drop"]
VarNames: TypeAlias = Literal["error", "unique"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What to take of each input, as the arguments of ``add_adatas`` of the same names say.

    ``graphs_as_stored`` keeps the graphs in ``obsm`` of a collection's datasets: their columns are all its rows.
    """

    raw: Raw | None = None
    layer: str | None = None
    var_names: VarNames = "error"
    obs_columns: list[str] | None = None
    obsp: list[str] = field(default_factory=list)
    graphs_as_stored: bool = False

    def __post_init__(self) -> None:
        if self.raw is not None:
            check_choice("raw", self.raw, get_args(Raw))
        check_choice("var_names", self.var_names, get_args(VarNames))
        if not isinstance(self.layer, str | None):
            raise TypeError(f"`layer` must be the name of a layer or None, got {in_words(self.layer)}.")
        if self.raw == "use" and self.layer is not None:
            raise ValueError(
                f"`layer` must be left out where raw is 'use': both take the place of X, got {self.layer!r}."
            )

    def of(self, opened: Input) -> Input:
        """Return an open input, changed in place to hold what was chosen.

        Raises
        ------
        KeyError
            If it lacks a column, or a matrix of ``obsp``.
        StoreError
            If it lacks ``raw`` or the layer, or a matrix of ``obsp`` is none of rows by rows.
        """
        if self.raw == "use":
            _use_raw(opened)
        if self.layer is not None:
            layers = sorted(path.removeprefix("layers/") for path in opened.matrices if path.startswith("layers/"))
            if self.layer not in layers:
                mean = did_you_mean([self.layer], layers)
                raise StoreError(
                    f"`layer` must be one of all inputs, got {self.layer!r}{mean}; {opened.name} has {layers}."
                )
            opened.matrices = {"X": opened.matrices.pop(f"layers/{self.layer}")} | {
                path: matrix for path, matrix in opened.matrices.items() if path != "X"
            }
        if self.obs_columns is not None:
            columns = opened.tables["obs"]
            unknown = [name for name in self.obs_columns if name not in columns]
            if unknown:
                raise unknown_names("obs_columns", f"columns of obs of {opened.name}", unknown, columns)
            opened.tables["obs"] = {name: columns[name] for name in self.obs_columns}
        choose_graphs(opened, self.obsp, as_stored=self.graphs_as_stored)
        if self.var_names == "unique":
            annotations = opened.annotations
            opened.annotations = lambda: _unique(annotations())
        return opened


HELD = Choice(raw="keep", graphs_as_stored=True)
"""All of a collection's own datasets."""


def _use_raw(opened: Input) -> None:
    if RAW not in opened.matrices:
        raise StoreError(f"`raw='use'` needs raw in all inputs, and {opened.name} has none.")
    kept = {path: matrix for path, matrix in opened.matrices.items() if path.startswith("obsm/")}
    opened.dropped += [path for path in opened.matrices if path.startswith("layers/")]
    opened.matrices = {"X": opened.matrices[RAW], **kept}
    opened.n_vars = opened.n_raw_vars
    annotations = opened.annotations

    def of_raw() -> Annotations:
        every = annotations()
        assert every.raw is not None
        return replace(every.raw, uns=every.uns)

    opened.annotations = of_raw


def _unique(annotations: Annotations) -> Annotations:
    from anndata.utils import make_index_unique

    raw = None if annotations.raw is None else _unique(annotations.raw)
    annotations = replace(annotations, raw=raw)
    index = annotations.var.index
    return annotations if index.is_unique else annotations.renamed(make_index_unique(index))
