"""Warnings that point at the line of the user's program that called this package."""

from __future__ import annotations

import sys
import warnings

_PASSED = ("annbatch", "annbatch_torch", "annbatch_jax", "annbatch_cupy", "contextlib", "functools", "importlib")


def warn(text: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning whose place is the innermost line outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED:
        frame = frame.f_back
    warnings.warn_explicit(
        text,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )
