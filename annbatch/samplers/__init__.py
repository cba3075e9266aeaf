"""Which rows are read together and in which order: one sampler a file.

All draw their randomness from NumPy generators; ``torch.manual_seed`` has no effect. The order of an epoch is a
function of the sampler's seed and the epoch's number alone.
"""

from __future__ import annotations

from ._chunk import ChunkSampler as ChunkSampler
from ._class import ClassSampler as ClassSampler
from ._class import WeightedClassSampler as WeightedClassSampler
from ._distributed import DistributedSampler as DistributedSampler
from ._random import RandomSampler as RandomSampler
from ._row_set import RowSet as RowSet
from ._sequential import SequentialSampler as SequentialSampler
from ._split import Split as Split
from ._split import split as split

__all__ = [
    "ChunkSampler",
    "ClassSampler",
    "DistributedSampler",
    "RandomSampler",
    "RowSet",
    "SequentialSampler",
    "Split",
    "WeightedClassSampler",
    "split",
]
