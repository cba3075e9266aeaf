"""Sizes in bytes: as users write them, as they are on disk, as people read them."""

from __future__ import annotations

import re
from pathlib import Path

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(size: int | str, *, name: str) -> int:
    """Return a size in bytes.

    Parameters
    ----------
    size
        A number of bytes, or a string such as ``"512MB"``; K, M, G and T are powers of 1,024, with or without ``iB``.
    name
        The argument, for the error.

    Raises
    ------
    ValueError
        If it is negative or not a size.

    Examples
    --------
    >>> parse_size("1.5 KB", name="prefetch")
    1536
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)(?:i?B)?\s*", size, re.IGNORECASE)
        if match is None:
            raise ValueError(f"`{name}` must be a size such as '512MB' or a number of bytes, got {size!r}.")
        return int(float(match[1]) * _UNITS[match[2].upper()])
    if size < 0:
        raise ValueError(f"`{name}` must not be negative, got {size}.")
    return int(size)


def size_on_disk(path: str | Path) -> int:
    """Return the bytes of a file, or of all files under a folder.

    Examples
    --------
    >>> size_on_disk(__file__) > 0
    True
    """
    path = Path(path)
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def spell_bytes(n_bytes: float) -> str:
    """Return a number of bytes as people read it, in powers of 1,000.

    Examples
    --------
    >>> spell_bytes(999), spell_bytes(38_062_512), spell_bytes(2e9)
    ('999 B', '38.1 MB', '2.0 GB')
    """
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if n_bytes < 1000:
            break
        n_bytes, unit = n_bytes / 1000, larger
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
