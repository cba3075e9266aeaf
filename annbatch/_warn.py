"""Warnings that point at the line of the user's program that called this package, and those of libraries to ignore."""

from __future__ import annotations

import re
import sys
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        frame.f_globals.get("__name__") or "<string>",  # as of None, no warning would be shown
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


class _Ignored:
    """In place of a pattern in ``warnings.filters``: matches what the code that warns is asked to ignore."""

    asked: ContextVar[tuple[tuple[str, ...], ...]] = ContextVar("ignored warnings", default=())

    def match(self, text: str) -> bool:
        """Return whether a warning of this text is ignored here and now."""
        return any(re.match(pattern, text) for patterns in self.asked.get() for pattern in patterns)


_FILTER = ("ignore", _Ignored(), Warning, None, 0)


@contextmanager
def ignore_warnings(*messages: str) -> Iterator[None]:
    """Ignore warnings whose text begins with one of ``messages``, regular expressions, without changing other threads.

    :class:`warnings.catch_warnings` replaces the filters of the process: where two threads overlap, the last to leave
    restores those of the other, for good. Here one filter stays for ever and does nothing outside of such contexts,
    which coroutines on other threads inherit.
    """
    filters: list[object] = warnings.filters  # type: ignore[assignment]
    if filters[:1] != [_FILTER]:
        with suppress(ValueError):
            filters.remove(_FILTER)  # others came before it
        filters.insert(0, _FILTER)
    _Ignored.asked.set((*_Ignored.asked.get(), messages))
    try:
        yield
    finally:  # not those before: contexts of generators end in any order
        _Ignored.asked.set(tuple(one for one in _Ignored.asked.get() if one is not messages))
