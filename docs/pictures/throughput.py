"""Rows per second of this package and of scverse annbatch, as the table in ``docs/performance.md`` has them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.plot import plot
from benchmarks.tables import read_summary

PAGE = Path(__file__).parents[1] / "performance.md"
SHOWN = (512, 64, 1)


def draw(*, small: bool = False) -> str:
    """Return the picture; it is always small."""
    rates = {
        f"{size} rows read together" if size > 1 else "single rows": loaders
        for size, loaders in read_summary(PAGE).items()
        if size in SHOWN
    }
    picture = plot(rates)
    if picture is None:
        raise ValueError(f"{PAGE} must hold a table of rows per second.")
    return picture
