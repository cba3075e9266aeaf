"""``annbatch demo``: h5ad files to a trained classifier in under a minute, and the made-up atlas alone."""

from ._atlas import write_atlas as write_atlas
from ._run import run as run

__all__ = ["run", "write_atlas"]
