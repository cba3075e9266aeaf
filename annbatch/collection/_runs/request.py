"""The request of one call of `add_adatas`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from ..._arguments import check_callable, check_choice, flag
from ..._sizes import plain_size
from .._inputs.chosen import Choice
from .._schema.overlap import check_min_overlap
from .._schema.variables import MergeBy

if TYPE_CHECKING:
    from typing import Any

    from .._array_format import Format
    from .._inputs.open import LoadAdata, Source
    from .._resources.limit import Memory
    from .._schema.variables import Merge


IfPresent: TypeAlias = Literal["error", "skip", "add"]
H5adCompressor: TypeAlias = Literal["gzip", "lzf"]


@dataclass(frozen=True, slots=True)
class AddRequest:
    """Arguments of :meth:`annbatch.DatasetCollection.add_adatas`, each of them checked."""

    sources: list[Source]
    load_adata: LoadAdata | None
    groupby: list[str] | None
    var_subset: list[str] | None
    form: Format
    h5ad_compressor: H5adCompressor | None
    dataset_size: int | str
    shuffle: bool
    seed: int | None
    merge: Merge
    narrow: bool
    memory: Memory
    client: Any | None
    progress: bool
    choice: Choice
    if_present: IfPresent = "error"
    min_overlap: float = 0.1
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_choice("if_present", self.if_present, get_args(IfPresent))
        if self.merge is not None:
            check_choice("merge", self.merge, get_args(MergeBy))
        if self.h5ad_compressor is not None:
            check_choice("h5ad_compressor", self.h5ad_compressor, get_args(H5adCompressor))
        if self.groupby is not None and not 0 < len(self.groupby) == len(set(self.groupby)):
            raise ValueError(f"`groupby` must name columns of `obs`, each once, got {self.groupby}.")
        check_min_overlap(self.min_overlap)
        check_callable(self.load_adata, "load_adata")
        # Python's own types, as they are recorded in JSON.
        object.__setattr__(self, "dataset_size", plain_size(self.dataset_size, name="dataset_size"))
        for name in ("shuffle", "narrow", "progress", "overwrite", "dry_run"):
            object.__setattr__(self, name, flag(getattr(self, name), name))
