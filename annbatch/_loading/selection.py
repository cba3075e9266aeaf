"""The part of its datasets that a loader yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from .._anndata.keys import has_var_axis, split_key
from .._anndata.variables import Join
from .._arguments import as_names, check_choice, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._anndata.labels import LabelRequest
    from .encoding import EncodingRequest
    from .neighbors import NeighborRequest


@dataclass(frozen=True, slots=True)
class Selection:
    """Keys, columns and joins that a loader was asked for; see its parameters of the same names.

    Attributes
    ----------
    keys
        Keys of the elements.
    obs_columns
        Columns of ``obs``; None for all.
    obs_join
        Whether and how different columns of ``obs`` are joined.
    var_names
        Columns of X and layers; None for all. Where there are modalities, by modality.
    var_join
        Whether and how different columns of X and layers are joined.
    labels
        Column of ``obs`` that batches hold as labels.
    sampled_columns
        Columns of ``obs`` that the sampler reads.
    neighbors
        Graph whose neighbours come with the rows.
    encoding
        Matrix that is encoded, and its encoder.
    """

    keys: tuple[str, ...] = ("X", "obs")
    obs_columns: list[str] | None = None
    obs_join: Join = "exact"
    var_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None
    var_join: Join = "exact"
    labels: LabelRequest | None = None
    sampled_columns: tuple[str, ...] = ()
    neighbors: NeighborRequest | None = None
    encoding: EncodingRequest | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("`keys` must name at least one element, got none.")
        repeated = sorted({key for key in self.keys if self.keys.count(key) > 1})
        if repeated:
            raise ValueError(f"`keys` must name each element once, got {repeated} twice.")
        if not all(isinstance(key, str) for key in self.keys):
            raise TypeError(f"`keys` must be names of elements, such as 'X', got {in_words(self.keys)}.")
        for names in self.var_names.values() if isinstance(self.var_names, Mapping) else [self.var_names]:
            if names is not None:
                as_names(names, "var_names")
        for name, join in (("var_join", self.var_join), ("obs_join", self.obs_join)):
            check_choice(name, join, get_args(Join))

    @property
    def keys_read(self) -> tuple[str, ...]:
        """Keys of the elements that are read: those of batches, and the one that is encoded."""
        if self.encoding is None or self.yields(self.encoding.key):
            return self.keys
        return (*self.keys, self.encoding.key)

    def yields(self, key: str) -> bool:
        """Return whether batches hold an element: under its key, or as that of every modality."""
        return key in self.keys or (has_var_axis(key) and split_key(key)[1] in self.keys)

    @property
    def takes_every_column(self) -> bool:
        """Whether columns of X and layers stay as they are stored."""
        return self.var_names is None and self.var_join == "exact"
