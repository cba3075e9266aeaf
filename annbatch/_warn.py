"""Warnings that point at the line of the user's program that called this package."""

from __future__ import annotations

import sys
import warnings

_PASSED = ("annbatch", "annbatch_torch", "annbatch_jax", "annbatch_cupy", "contextlib")


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning whose place is the innermost line outside this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
