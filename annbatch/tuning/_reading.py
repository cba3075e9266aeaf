"""How the elements of a store are read, and what converting it would gain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._arrays.open import open_rows
from .._sizes import format_bytes
from ..collection._runs.described import elements_in

if TYPE_CHECKING:
    from .._arrays.open import RowSource

_MUCH_BYTES = 32 << 10
"""Bytes decoded for a single row from which on converting gains: a few of the blocks of 16 KB that we write."""


def describe_elements(group: Any) -> list[str]:
    """Return a line for each matrix of a stored AnnData, and one about what converting it would gain."""
    lines, costs = [], []
    for name, encoding, _, dtype in elements_in(group):
        line = f"{name}: {encoding} {dtype}"
        if encoding == "csc_matrix":
            costs.append((float("inf"), f"{name} is stored by columns and cannot be read by rows"))
        elif dtype:
            source = open_rows(group[name])
            how = ", ".join(dict.fromkeys(array.describe() for array in source.arrays))
            line += f", read as {how}"
            costs.append(_cost(name, how, source))
        lines.append(line.rstrip())
    worst, why = max(costs, default=(0, ""))
    if worst > _MUCH_BYTES:
        made = "`annbatch convert` makes a store whose rows are read by decoding one or two blocks of 16 KB each"
        lines.append(f"{why}; {made}.")
    else:
        lines.append("Converting would not make reading faster: single rows are cheap to read.")
    return lines


def _cost(name: str, how: str, source: RowSource) -> tuple[float, str]:
    """Return the bytes that are decoded for a single row, and a sentence about them."""
    n_bytes = 0
    for array in source.arrays:
        item = array.dtype.itemsize
        for length in array.shape[1:]:
            item *= length
        n_bytes += item * array.items_decoded()
    by_library = " through a library, without kernels" if "native" not in how else ""
    return n_bytes, f"{name} is read in pieces of {format_bytes(n_bytes)}{by_library}, also where one row is needed"
