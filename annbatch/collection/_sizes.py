"""Sizes in words: ``"1GB"``."""

from __future__ import annotations

import re

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}


def parse_size(size: str, argument: str) -> int:
    """Return a size such as ``"1GB"`` in bytes; ``k``, ``M``, ``G``, ``T`` are powers of 1024.

    Parameters
    ----------
    size
        A number and a unit, ``i`` and ``B`` optional: ``"500MB"``, ``"1.5 GiB"``.
    argument
        What the size was given for, for the error.

    Raises
    ------
    ValueError
        If it is no size, or not positive.

    Examples
    --------
    >>> from annbatch.collection._sizes import parse_size
    >>> parse_size("1GB", "shard_size")
    1073741824
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgtp]?)i?(?:b|bytes?)?\s*", size, re.IGNORECASE)
    nbytes = int(float(match[1]) * _UNITS[match[2].lower()]) if match else 0
    if nbytes < 1:
        raise ValueError(f"`{argument}` must be a positive size such as '1GB' or '500MB', got {size!r}.")
    return nbytes


def rows_for(size: int | str, bytes_per_row: float, argument: str) -> int:
    """Return how many rows a size stands for: itself if it is an int, else as many as fill that many bytes."""
    if isinstance(size, str):
        return max(1, int(parse_size(size, argument) / max(1.0, bytes_per_row)))
    if size < 1:
        raise ValueError(f"`{argument}` must be positive, got {size}.")
    return int(size)


def say_size(nbytes: float) -> str:
    """Return a size for people: ``"1.5 GB"``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(nbytes) < 1000:
            return f"{nbytes:.3g} {unit}" if unit != "B" else f"{nbytes:.0f} B"
        nbytes /= 1000
    return f"{nbytes:.3g} TB"
