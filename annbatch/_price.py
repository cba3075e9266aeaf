"""Says, once a loader, what rows at random cost where whole chunks are decoded for their sake."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from ._arrays.library import SpanArray
from ._arrays.sources import CsrSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._arrays.open import RowSource

_DEAR = 4.0
"""Times the values that are wanted: below it, larger chunks of rows gain less than shuffling loses."""

_WORTH_SAYING = 16 << 20
"""Bytes decoded for a window; who reads less need not care."""


def warn_of_price(sources: Iterable[RowSource]) -> bool:
    """Warn if most of what was decoded so far was not wanted; return whether that was so.

    Parameters
    ----------
    sources
        All matrices of a loader.
    """
    wanted = decoded = 0
    how: dict[str, None] = {}
    for source in sources:
        for array in (source.data, source.indices) if isinstance(source, CsrSource) else (source.array,):
            if isinstance(array, SpanArray):
                wanted += array.wanted_bytes
                decoded += array.decoded_bytes
                how[array.describe()] = None
    if decoded <= max(_WORTH_SAYING, _DEAR * wanted):
        return False
    warnings.warn(
        f"Reading decodes {decoded / max(wanted, 1):.0f} times the values that batches hold: the rows that are read "
        f"together lie apart, and what lies between them shares their chunks ({', '.join(how)}). A larger `chunk_size` "
        "lowers that price; `DatasetCollection(...).add_adatas(...)` makes a store that single rows are read from.",
        UserWarning,
        stacklevel=4,  # whoever asked the loader's iterator for a batch
    )
    return True
