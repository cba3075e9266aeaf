"""The order of rows: one sampler per file.

All draw their randomness from NumPy generators; ``torch.manual_seed`` has no effect. The order of an epoch is a
function of the sampler's seed and the epoch's number alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._bound import BoundClassSampler as BoundClassSampler
    from ._cell_load import read_holdout as read_holdout
    from ._chunk import ChunkSampler as ChunkSampler
    from ._class import ClassSampler as ClassSampler
    from ._class import WeightedClassSampler as WeightedClassSampler
    from ._distributed import DistributedSampler as DistributedSampler
    from ._holdout import Holdout as Holdout
    from ._paired import PairedSampler as PairedSampler
    from ._random import RandomSampler as RandomSampler
    from ._row_set import RowSet as RowSet
    from ._sequential import SequentialSampler as SequentialSampler
    from ._sets import SetSampler as SetSampler
    from ._split import Split as Split
    from ._split import split as split

_HOMES = {
    "BoundClassSampler": "._bound",
    "ChunkSampler": "._chunk",
    "ClassSampler": "._class",
    "DistributedSampler": "._distributed",
    "Holdout": "._holdout",
    "PairedSampler": "._paired",
    "RandomSampler": "._random",
    "RowSet": "._row_set",
    "SequentialSampler": "._sequential",
    "SetSampler": "._sets",
    "Split": "._split",
    "WeightedClassSampler": "._class",
    "read_holdout": "._cell_load",
    "split": "._split",
}

__all__ = [
    "BoundClassSampler", "ChunkSampler", "ClassSampler", "DistributedSampler", "Holdout", "PairedSampler",
    "RandomSampler", "RowSet", "SequentialSampler", "SetSampler", "Split", "WeightedClassSampler", "read_holdout",
    "split",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a sampler at its first use: those for classes and splits need pandas."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
