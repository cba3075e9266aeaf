"""scGPT's value binning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from .._arguments import check_choice
from ._encoder import check_sizes, widths_up_to
from ._geneformer import unencodable
from ._vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ._encoder import EncodeRows, Rows, Tokens

Side: TypeAlias = Literal["both", "one"]


@dataclass(frozen=True, slots=True)
class ScGPTBins:
    """The genes of a row with their values in bins of equal numbers: scGPT's value binning, sampling and padding.

    The quantiles of the values of a row's expressed genes divide them into ``n_bins - 1`` bins, numbered from 1; bin 0
    is for genes that are not expressed, which are no tokens. A row with more genes than ``max_len`` is cut to a random
    choice of them, another one in each epoch.

    Parameters
    ----------
    vocabulary
        Ids of genes, as the model publishes them: :class:`Vocabulary`, or ids by name.
    n_bins
        Number of bins, that of 0 included.
    max_len
        Largest number of tokens, ``cls`` included.
    sampling
        Whether genes of a row that is too long are chosen at random; False: the first, in the order of columns.
    side
        Bin of a value that equals several quantiles, as most small counts do: ``"both"``, a random one of the bins
        between these; ``"one"``, the last.
    cls
        Name of the token before the genes; None for none.
    cls_value, pad_value
        Values of this token and of padding.
    buckets
        Smaller widths that a batch may have.

    Raises
    ------
    ValueError
        If a size is out of range.
    KeyError
        If the vocabulary lacks ``cls``.

    Notes
    -----
    Cui et al. 2024, "scGPT: toward building a foundation model for single-cell multi-omics using generative AI", Nature
    Methods 21; the definition is that of ``binning`` in ``preprocess.py`` and of ``DataCollator`` in its repository,
    with quantiles in float64. Random bins and choices follow the same distributions, but are a function of seed, epoch
    and row. Genes come in the order of their columns, where the published sampling shuffles them: the model does not
    know their positions. Bins depend on the order of values alone, so that counts and their log-normalised values have
    the same ones.

    Examples
    --------
    >>> import anndata as ad, numpy as np, pandas as pd
    >>> from annbatch import Loader
    >>> from annbatch.tokens import ScGPTBins
    >>> counts = np.array([[1, 0, 2, 7, 30]], dtype="float32")
    >>> adata = ad.AnnData(
    ...     counts, var=pd.DataFrame(index=["ACTB", "CD3E", "CD19", "GATA1", "LYZ"])
    ... )
    >>> ids = {
    ...     "<pad>": 0,
    ...     "<cls>": 1,
    ...     "ACTB": 2,
    ...     "CD3E": 3,
    ...     "CD19": 4,
    ...     "GATA1": 5,
    ...     "LYZ": 6,
    ... }
    >>> encoder = ScGPTBins(ids, n_bins=5, max_len=6)
    >>> loader = Loader(encoder=encoder, chunk_size=1, preload_nchunks=1).add_adata(
    ...     adata
    ... )
    >>> tokens = next(iter(loader))["tokens"]
    >>> tokens["ids"], tokens["values"]
    (array([[1, 2, 4, 5, 6, 0]]), array([[0., 1., 2., 3., 4., 0.]], dtype=float32))
    """

    vocabulary: Vocabulary | Mapping[str, int]
    n_bins: int = 51
    max_len: int = 1200
    sampling: bool = True
    side: Side = "both"
    cls: str | None = "<cls>"
    cls_value: float = 0.0
    pad_value: float = 0.0
    buckets: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.vocabulary, Vocabulary):
            object.__setattr__(self, "vocabulary", Vocabulary(self.vocabulary))
        check_sizes(self.n_bins, (), name="n_bins", at_least=2)
        check_sizes(self.max_len, self.buckets, at_least=1 if self.cls is None else 2)
        check_choice("side", self.side, get_args(Side))
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
        return [] if self.cls is None else [self._vocabulary[self.cls]]

    def bind(self, var: pd.DataFrame) -> EncodeRows:
        """Return the function that encodes rows.

        Raises
        ------
        ValueError
            If the vocabulary has no id for the columns.
        """
        columns = self._vocabulary.columns(var)
        return _BinRows(self, columns, np.linspace(0, 1, self.n_bins - 1), np.array(self._specials, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class _BinRows:
    """Writes the genes of rows and the bins of their values."""

    of: ScGPTBins
    columns: np.ndarray
    quantiles: np.ndarray
    specials: np.ndarray

    def __call__(self, rows: Rows, out: Tokens) -> None:
        """Write the tokens of some rows."""
        from .._kernels.token_bins import bin_rows

        wrong = bin_rows(
            rows.data,
            rows.indices,
            rows.indptr,
            rows.seeds,
            self.columns,
            self.quantiles,
            self.of.side == "both",
            self.of.sampling,
            self.specials,
            float(self.of.cls_value),
            *out,
        )
        if wrong >= 0:
            raise unencodable("ScGPTBins", "positive and finite", rows, wrong)
