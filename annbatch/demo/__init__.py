"""``annbatch demo``: h5ad files to a trained classifier in under a minute."""

from ._model import COUNTS_PER_CELL, LEARNING_RATE, Classifier
from ._run import run

__all__ = ["COUNTS_PER_CELL", "LEARNING_RATE", "Classifier", "run"]
