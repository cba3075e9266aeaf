"""``annbatch demo``: h5ad files to a trained classifier in under a minute."""

from ._run import run as run

__all__ = ["run"]
