"""Minibatches from AnnData stores too large for memory, for any array framework.

>>> import annbatch
>>> sorted(annbatch.__all__)
['DatasetCollection', 'Loader', 'RemoteStore', 'abc', 'diversity', 'errors', 'mix', 'samplers', 'statistics',
 'suggest', 'testing', 'tokens', 'transforms', 'tuning', 'types', 'write_sharded']
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import abc, errors, samplers, testing, tokens, transforms, tuning, types
    from ._loading.mix import mix
    from ._remote.store import RemoteStore
    from ._statistics import statistics
    from .collection import DatasetCollection
    from .collection._runs.write_sharded import write_sharded
    from .loader import Loader
    from .tuning import diversity, suggest

logging.getLogger(__name__).addHandler(logging.NullHandler())
__version__ = version("annbatch")

__all__ = [
    "DatasetCollection",
    "Loader",
    "RemoteStore",
    "abc",
    "diversity",
    "errors",
    "mix",
    "samplers",
    "statistics",
    "suggest",
    "testing",
    "tokens",
    "transforms",
    "tuning",
    "types",
    "write_sharded",
]

_HOMES = {
    "DatasetCollection": ".collection",
    "Loader": ".loader",
    "RemoteStore": "._remote.store",
    "diversity": ".tuning",
    "mix": "._loading.mix",
    "statistics": "._statistics",
    "suggest": ".tuning",
    "write_sharded": ".collection._runs.write_sharded",
}

_MODULES = ("compat", "io", "loader", "utils")  # programs for scverse annbatch find them without importing them


def __getattr__(name: str) -> object:
    """Import what is asked for when it is asked for: anndata and zarr take over a second together."""
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name], __name__), name)
    elif name in __all__ or name in _MODULES:
        value = import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
