"""Some genes of each row with their values: the largest, or a random choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ._encoder import check_sizes, widths_up_to
from ._geneformer import RankRows
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ._encoder import EncodeRows, Rows, Tokens


@dataclass(frozen=True, slots=True)
class _Genes:
    """What encoders of some genes have in common."""

    k: int
    vocabulary: Vocabulary | Mapping[str, int] | None = None
    buckets: Sequence[int] = field(default=(), kw_only=True)
    pad_value: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.vocabulary, Mapping):
            object.__setattr__(self, "vocabulary", Vocabulary(self.vocabulary))
        check_sizes(self.k, self.buckets, name="k")

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths that batches may have."""
        return widths_up_to(self.k, self.buckets)

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self.vocabulary.pad_id if isinstance(self.vocabulary, Vocabulary) else 0

    def _columns(self, var: pd.DataFrame) -> np.ndarray:
        if isinstance(self.vocabulary, Vocabulary):
            return self.vocabulary.columns(var)
        return np.arange(len(var), dtype=np.int32)


@dataclass(frozen=True, slots=True)
class TopGenes(_Genes):
    """The genes of a row with the largest values, in descending order.

    Genes with equal values come in the order of their columns; those that are not expressed are no tokens.

    Parameters
    ----------
    k
        Largest number of tokens.
    vocabulary
        Ids of genes; None: the number of the column is the id of a gene, and 0 the id of padding, too.
    buckets
        Smaller widths that a batch may have.

    Raises
    ------
    ValueError
        If a size is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> from annbatch.tokens import TopGenes
    >>> loader = Loader(
    ...     encoder=TopGenes(3), batch_size=2, chunk_size=2, preload_nchunks=1
    ... )
    >>> loader = loader.add_dataset(
    ...     np.array([[2, 0, 9, 2], [0, 5, 0, 0]], dtype="float32")
    ... )
    >>> tokens = next(iter(loader))["tokens"]
    >>> tokens["ids"], tokens["length"]
    (array([[2, 0, 3],
           [1, 0, 0]]), array([3, 1], dtype=int32))
    """

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        """Return the function that encodes rows."""
        return RankRows("TopGenes", self._columns(var), np.empty(0), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True)
class RandomGenes(_Genes):
    """A random choice of the genes of a row, another one in each epoch.

    Each set of ``k`` genes is as likely as any other; a row with fewer has all of them. Genes come in the order of
    their columns. The choice is a function of the loader's seed, the epoch and the row.

    Parameters
    ----------
    k
        Largest number of tokens.
    vocabulary
        Ids of genes; None: the number of the column is the id of a gene, and 0 the id of padding, too.
    unexpressed
        Whether all genes that have an id are chosen from, not only those expressed in the row. Their value is 0.
    buckets
        Smaller widths that a batch may have.

    Raises
    ------
    ValueError
        If a size is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from annbatch import Loader
    >>> from annbatch.tokens import RandomGenes
    >>> loader = Loader(
    ...     encoder=RandomGenes(3, unexpressed=True),
    ...     chunk_size=1,
    ...     preload_nchunks=1,
    ...     seed=0,
    ... )
    >>> loader = loader.add_dataset(np.array([[0, 1, 2, 3, 0, 0]], dtype="float32"))
    >>> [next(iter(loader))["tokens"]["ids"].tolist() for epoch in range(3)]
    [[[0, 2, 3]], [[3, 4, 5]], [[1, 2, 3]]]
    """

    unexpressed: bool = field(default=False, kw_only=True)

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        """Return the function that encodes rows."""
        return _SampleRows(self._columns(var), self.unexpressed)


@dataclass(frozen=True, slots=True, eq=False)
class _SampleRows:
    """Writes a random choice of the genes of rows."""

    columns: np.ndarray
    unexpressed: bool

    def __call__(self, rows: Rows, out: Tokens) -> None:
        """Write the tokens of some rows."""
        from .._kernels.token_samples import sample_all, sample_expressed

        given: Any = (rows.data, rows.indices, rows.indptr, rows.seeds, self.columns, *out)
        (sample_all if self.unexpressed else sample_expressed)(*given)
