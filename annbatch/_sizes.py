"""Sizes in bytes: parsed from arguments, measured on disk, formatted for people."""

from __future__ import annotations

import re
from pathlib import Path

_PREFIXES = ("", "K", "M", "G", "T", "P")
_SIZE = re.compile(
    r"\s*(\d+(?:\.\d*)?)\s*([KMGTP]?)(i|[ie]bi(?=byte)|(?:ilo|[ei]ga|era|eta)(?=byte)|)(?:B|bytes?)?\s*", re.IGNORECASE
)


def parse_size(size: int | str, *, name: str, least: int = 0) -> int:
    """Return a size in bytes.

    Parameters
    ----------
    size
        A number of bytes, or a string: ``"1GB"`` is 10^9 bytes, ``"1GiB"`` 2^30. K, M, G, T and P are known, and so
        are their names: ``"1 gigabyte"``, ``"2 gibibytes"``.
    name
        Name of the argument in errors.
    least
        Smallest valid size, 0 or 1.

    Raises
    ------
    ValueError
        If the size is below ``least``, or the string is not a size.

    Examples
    --------
    >>> parse_size("1.5 KB", name="prefetch"), parse_size("1.5 KiB", name="prefetch")
    (1500, 1536)
    """
    n_bytes = size if isinstance(size, int) else _parse(str(size), name)
    if n_bytes < least:
        raise ValueError(f"`{name}` must {'be positive' if least else 'not be negative'}, got {size!r}.")
    return int(n_bytes)


def _parse(size: str, name: str) -> int:
    match = re.fullmatch(_SIZE, size)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"`{name}` must be a size such as '512MB' or a number of bytes, got {size!r}.")
    base = 1024 if match[3].lower().endswith("i") else 1000
    return int(float(match[1]) * base ** _PREFIXES.index(match[2].upper()))


def rows_for(size: int | str, bytes_per_row: float, *, name: str) -> int:
    """Return a number of rows: the size itself if it is an int, else how many rows fill that many bytes.

    Examples
    --------
    >>> rows_for(7, 100.0, name="shard_size"), rows_for("1kB", 100.0, name="shard_size")
    (7, 10)
    """
    parsed = parse_size(size, name=name, least=1)
    return max(1, int(parsed / max(1.0, bytes_per_row))) if isinstance(size, str) else parsed


def plain_size(size: int | str, *, name: str) -> int | str:
    """Return a number of rows, or a size in bytes, that is valid: as Python's own type, which JSON takes.

    Examples
    --------
    >>> plain_size(7, name="shard_size"), plain_size("1GB", name="shard_size")
    (7, '1GB')
    """
    parsed = parse_size(size, name=name, least=1)
    return str(size) if isinstance(size, str) else parsed


def size_on_disk(path: str | Path) -> int:
    """Return the bytes of a file, or of all files under a folder.

    Examples
    --------
    >>> size_on_disk(__file__) > 0
    True
    """
    path = Path(path)
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def format_bytes(n_bytes: float) -> str:
    """Format a number of bytes for people, in powers of 1,000.

    Examples
    --------
    >>> format_bytes(999), format_bytes(38_062_512), format_bytes(2e9)
    ('999 B', '38.1 MB', '2.0 GB')
    """
    unit = "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if n_bytes < 1000:
            break
        n_bytes, unit = n_bytes / 1000, larger
    return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
