"""Rows as tokens, for transformers: ``Loader(encoder=...)``.

>>> import annbatch.tokens
>>> annbatch.tokens.__all__
['EncodeRows', 'Encoder', 'GeneformerRanks', 'RandomGenes', 'Rows', 'ScGPTBins', 'Tokens', 'TopGenes', 'Vocabulary']
"""

from __future__ import annotations

from ._encoder import Encoder as Encoder
from ._encoder import EncodeRows as EncodeRows
from ._encoder import Rows as Rows
from ._encoder import Tokens as Tokens
from ._geneformer import GeneformerRanks as GeneformerRanks
from ._genes import RandomGenes as RandomGenes
from ._genes import TopGenes as TopGenes
from ._scgpt import ScGPTBins as ScGPTBins
from ._vocabulary import Vocabulary as Vocabulary

__all__ = [
    "EncodeRows",
    "Encoder",
    "GeneformerRanks",
    "RandomGenes",
    "Rows",
    "ScGPTBins",
    "Tokens",
    "TopGenes",
    "Vocabulary",
]
