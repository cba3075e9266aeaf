"""``annbatch demo``: h5ad files to a trained classifier in under a minute, and made-up data alone."""

from ._atlas import write_atlas as write_atlas
from ._run import run as run
from ._screen import write_screen as write_screen

__all__ = ["run", "write_atlas", "write_screen"]
