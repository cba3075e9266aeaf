"""Geneformer's rank value encoding."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ._encoder import check_sizes, widths_up_to
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from ._encoder import EncodeRows, Rows, Tokens

_TARGET_SUM = 10_000.0
_SPECIALS = ("<cls>", "<eos>")


@dataclass(frozen=True, slots=True)
class GeneformerRanks:
    """The genes of a row by descending rank: Geneformer's rank value encoding.

    Each value is divided by the total of its row, multiplied by 10,000, and divided by the median of its gene; the ids
    of expressed genes follow each other by descending result, up to ``max_len``. The results are the ``values``.

    Parameters
    ----------
    medians
        Median of each gene's expression where it is expressed, by name, as the model publishes them.
    vocabulary
        Ids of genes, as the model publishes them: :class:`Vocabulary`, or ids by name. Its names are those of
        ``medians``.
    max_len
        Largest number of tokens, special ones included: 2,048 for the first version of the model, 4,096 for the second.
    special_tokens
        Whether ``<cls>`` comes before the genes and ``<eos>`` behind them, as for the second version; or a pair of
        other names. Their values are 0.
    buckets
        Smaller widths that a batch may have.

    Raises
    ------
    ValueError
        If a size is out of range, or a median is not positive.
    KeyError
        If the vocabulary lacks a special token.

    Notes
    -----
    Theodoris et al. 2023, "Transfer learning enables predictions in network biology", Nature 618; the definition is
    that of ``TranscriptomeTokenizer`` in its repository, in float64. Totals count all columns of the matrix, those
    without an id included; they do not change the order. Genes with equal results come in the order of their columns,
    which the published program leaves open. Columns of one gene are not added up: that they repeat is an error.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> from annbatch import Loader
    >>> from annbatch.tokens import GeneformerRanks, Vocabulary
    >>> counts = np.array([[8, 1, 1, 0], [0, 2, 0, 1]], dtype="float32")
    >>> adata = ad.AnnData(
    ...     counts, var=pd.DataFrame(index=["ACTB", "CD3E", "CD19", "GATA1"])
    ... )
    >>> ids = {"<pad>": 0, "<mask>": 1, "ACTB": 2, "CD3E": 3, "CD19": 4, "GATA1": 5}
    >>> medians = {"ACTB": 20.0, "CD3E": 1.0, "CD19": 0.5, "GATA1": 1.0}
    >>> encoder = GeneformerRanks(medians, ids, max_len=4)
    >>> loader = Loader(
    ...     batch_size=2, chunk_size=2, preload_nchunks=1, encoder=encoder
    ... ).add_adata(adata)
    >>> next(iter(loader))["tokens"]["ids"]
    array([[4, 3, 2, 0],
           [3, 5, 0, 0]])
    """

    medians: Mapping[str, float] = field(repr=False)
    vocabulary: Vocabulary | Mapping[str, int]
    max_len: int = 2048
    special_tokens: bool | tuple[str, str] = False
    buckets: Sequence[int] = ()
    pad_value: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, Vocabulary):
            object.__setattr__(self, "vocabulary", Vocabulary(self.vocabulary))
        check_sizes(self.max_len, self.buckets, at_least=3 if self.special_tokens else 1)
        for name, median in self.medians.items():
            if not (median > 0 and math.isfinite(median)):
                raise ValueError(f"`medians` must be positive and finite, got {median} for {name!r}.")
        _ = self._specials

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths that batches may have."""
        return widths_up_to(self.max_len, self.buckets)

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self._vocabulary.pad_id

    @property
    def _vocabulary(self) -> Vocabulary:
        assert isinstance(self.vocabulary, Vocabulary)
        return self.vocabulary

    @property
    def _specials(self) -> list[int]:
        names = _SPECIALS if self.special_tokens is True else self.special_tokens or ()
        return [self._vocabulary[name] for name in names]

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        """Return the function that encodes rows.

        Raises
        ------
        ValueError
            If the vocabulary has no id for the columns, or a gene that has one has no median.
        """
        vocabulary = self._vocabulary
        columns = vocabulary.columns(var)
        medians = np.ones(len(columns))
        known = np.flatnonzero(columns >= 0)
        names = vocabulary.names(var)
        lacking = []
        for column in known.tolist():
            name = vocabulary.name_of(names[column])
            if name in self.medians:
                medians[column] = self.medians[name]
            else:
                lacking.append(name)
        if lacking:
            raise ValueError(
                f"`medians` must have every gene of the data that the vocabulary has, got none of {len(lacking):,}: "
                f"{', '.join(map(repr, lacking[:5]))}."
            )
        return RankRows("GeneformerRanks", columns, medians, np.array(self._specials, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class RankRows:
    """Writes the genes of rows by descending value, divided by a median if there are medians."""

    name: str
    columns: np.ndarray
    medians: np.ndarray
    specials: np.ndarray

    def __call__(self, rows: Rows, out: Tokens) -> None:
        """Write the tokens of some rows."""
        from .._kernels.token_ranks import rank_rows

        wrong = rank_rows(
            rows.data,
            rows.indices,
            rows.indptr,
            self.columns,
            self.medians,
            _TARGET_SUM,
            self.specials,
            out.ids,
            out.values,
            out.length,
        )
        if wrong >= 0:
            raise unencodable(self.name, "positive and finite" if len(self.medians) else "finite", rows, wrong)


def unencodable(encoder: str, rule: str, rows: Rows, wrong: int) -> ValueError:
    """Return the error for a row whose values an encoder does not take."""
    row = rows.data[rows.indptr[wrong] : rows.indptr[wrong + 1]]
    least, number = row.min() if np.isfinite(row).all() else row[~np.isfinite(row)][0], rows.numbers[wrong]
    return ValueError(f"`encoder` {encoder} needs values that are 0 or {rule}, got {least} in row {number}.")
